"""facedex: one-shot face recognition.

    import facedex

    with facedex.Gallery("index", create=True) as gallery:
        for result in gallery.enroll_all("database"):
            print(result.photo, result.status)
        for face in gallery.identify("party.jpg").faces:
            print(face.name, face.probability)

A photo is a path, the bytes of a file, an open binary file, a Pillow image or an array (PhotoInput). Each name is
imported on first use, so that `import facedex` loads neither numpy nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facedex._version import __version__

if TYPE_CHECKING:
    from facedex.decision.candidate import Candidate
    from facedex.errors import FacedexError
    from facedex.gallery.enrolment import Enrolled
    from facedex.gallery.gallery import Gallery
    from facedex.photos.inputs import PhotoInput
    from facedex.photos.sources import named_photos
    from facedex.recognition.detection import DetectedFace
    from facedex.recognition.embedding import find_faces
    from facedex.recognition.identification import IdentifiedPhoto, identify
    from facedex.recognition.verification import Verification, Verifier
    from facedex.video.appearances import IdentifiedVideo, identify_videos

_MODULES = {
    "Candidate": "decision.candidate",
    "DetectedFace": "recognition.detection",
    "Enrolled": "gallery.enrolment",
    "FacedexError": "errors",
    "Gallery": "gallery.gallery",
    "IdentifiedPhoto": "recognition.identification",
    "IdentifiedVideo": "video.appearances",
    "PhotoInput": "photos.inputs",
    "Verification": "recognition.verification",
    "Verifier": "recognition.verification",
    "find_faces": "recognition.embedding",
    "identify": "recognition.identification",
    "identify_videos": "video.appearances",
    "named_photos": "photos.sources",
}

__all__ = [
    "Candidate",
    "DetectedFace",
    "Enrolled",
    "FacedexError",
    "Gallery",
    "IdentifiedPhoto",
    "IdentifiedVideo",
    "PhotoInput",
    "Verification",
    "Verifier",
    "__version__",
    "find_faces",
    "identify",
    "identify_videos",
    "named_photos",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name in _MODULES:
        return getattr(import_module(f"facedex.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'facedex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
