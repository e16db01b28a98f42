"""facedex: one-shot face recognition.

    import facedex

    with facedex.Gallery("index", create=True) as gallery:
        with facedex.named_photos(["database"]) as (photos, _):
            for result in gallery.enroll(photos):
                print(result.photo, result.status)
        for photo in facedex.identify(gallery, ["party.jpg"]):
            for face in photo.faces:
                print(face.name, face.probability)

Each name is imported on first use, so that `import facedex` loads neither numpy nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facedex._version import __version__

if TYPE_CHECKING:
    from facedex.errors import FacedexError
    from facedex.gallery.enrolment import Enrolled
    from facedex.gallery.gallery import Gallery
    from facedex.gallery.lookup import Candidate
    from facedex.photos.sources import named_photos
    from facedex.recognition.identification import IdentifiedPhoto, identify
    from facedex.recognition.verification import Verification, Verifier

_MODULES = {
    "Candidate": "gallery.lookup",
    "Enrolled": "gallery.enrolment",
    "FacedexError": "errors",
    "Gallery": "gallery.gallery",
    "IdentifiedPhoto": "recognition.identification",
    "Verification": "recognition.verification",
    "Verifier": "recognition.verification",
    "identify": "recognition.identification",
    "named_photos": "photos.sources",
}

__all__ = [
    "Candidate",
    "Enrolled",
    "FacedexError",
    "Gallery",
    "IdentifiedPhoto",
    "Verification",
    "Verifier",
    "__version__",
    "identify",
    "named_photos",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name in _MODULES:
        return getattr(import_module(f"facedex.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'facedex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
