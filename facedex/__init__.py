"""facedex: one-shot face recognition.

    import facedex

    with facedex.Gallery("index", create=True) as gallery:
        with facedex.named_photos(["database"]) as (photos, _):
            for result in gallery.enroll(photos):
                print(result.photo, result.status)
        for photo in facedex.identify(gallery, ["party.jpg"]):
            for face in photo.faces:
                print(face.name, face.probability)

Names are loaded on first use, so that importing facedex costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facedex._version import __version__

if TYPE_CHECKING:
    from facedex.enrolment import named_photos
    from facedex.errors import FacedexError
    from facedex.gallery import Enrolled, Gallery
    from facedex.identification import IdentifiedPhoto, Verification, Verifier, identify
    from facedex.lookup import Candidate

_HOME = {
    "Candidate": "lookup",
    "Enrolled": "gallery",
    "FacedexError": "errors",
    "Gallery": "gallery",
    "IdentifiedPhoto": "identification",
    "Verification": "identification",
    "Verifier": "identification",
    "identify": "identification",
    "named_photos": "enrolment",
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
    if name in _HOME:
        return getattr(import_module(f"facedex.{_HOME[name]}"), name)
    raise AttributeError(f"module 'facedex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
