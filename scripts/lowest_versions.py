"""The lowest versions of the dependencies that pyproject.toml allows, as `pip install` takes them, one a line."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest_versions() -> list[str]:
    """`numpy>=2.0` becomes `numpy==2.0.*`: the lowest minor version with its corrections."""
    listed = PROJECT.read_text("utf-8").split("\ndependencies = [")[1].split("\n]")[0]
    return [f"{name}=={version}.*" for name, version in re.findall(r'"([\w-]+)>=([\d.]+)', listed)]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
