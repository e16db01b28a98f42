"""The models that ship, and the face detector: see README.md here for whose they are."""

from pathlib import Path

FOLDER = Path(__file__).parent
