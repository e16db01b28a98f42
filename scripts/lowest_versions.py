"""Print the lowest dependency versions that pyproject.toml allows, one a line, as `pip install` takes them.

python -m scripts.lowest_versions
"""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest_versions() -> list[str]:
    """Turn `numpy>=2.0` into `numpy==2.0.*`, the lowest minor version with its bug fixes."""
    listed = PROJECT.read_text("utf-8").split("\ndependencies = [")[1].split("\n]")[0]
    return [f"{name}=={version}.*" for name, version in re.findall(r'"([\w-]+)>=([\d.]+)', listed)]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
