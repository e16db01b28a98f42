"""The errors that facedex raises on purpose.

    FacedexError
    ├── PhotoError            one photo cannot be used; a batch goes on without it
    │   ├── PhotoNotFound
    │   ├── PhotoUnreadable   broken, empty, truncated, no permission
    │   ├── PhotoUnsupported  no picture, or a format that needs an extra
    │   ├── PhotoTooLarge     above the caps on bytes or pixels
    │   ├── NoFace
    │   ├── SeveralFaces      several faces where exactly one was asked for
    │   └── XmpUnusable       a photo's XMP cannot be read or written
    ├── VideoUnusable         a video is missing, or cannot be read; a batch goes on without it
    ├── ModelError            a model file is missing, broken or of the wrong kind
    ├── DataError             training or evaluation data cannot be used
    ├── GalleryError
    │   ├── GalleryNotFound
    │   ├── GalleryBusy       another process writes to the gallery
    │   ├── GalleryDamaged
    │   ├── GalleryMismatch   made with another model
    │   ├── EngineError       the search engine refuses, or holds another index
    │   │   └── EngineAway    the search engine does not answer
    │   ├── PersonNotFound
    │   ├── PersonConflict    the change would mix up two people
    │   ├── UndoConflict      another change came in between, or stands in the way
    │   ├── FaceNotFound      no face has that id, or no picture of it is left
    │   └── GroupNotFound     no group of scanned faces has that number
    ├── NameInvalid
    ├── NameDoubtful          folders or files are hardly named after people
    ├── MissingExtra          an optional package is not installed
    ├── MissingProgram        a program that facedex calls is not installed
    ├── RequestError          the server cannot use a request
    │   ├── RequestRefused    it comes from another site, or names another host
    │   ├── TokenMissing      it has no token, or not one that allows this
    │   ├── RequestTooLarge   it is above a limit on bytes, photos or fields
    │   ├── RequestUnsupported  its body is of a type that is not read
    │   ├── RequestSlow       its body does not arrive
    │   └── ServerBusy        too many requests wait already
    └── BrokenPackage         a package that facedex needs is there in part only

A message is one sentence that names the thing and the remedy. The command line prints it unchanged.
"""

from __future__ import annotations

_MOST = 1_000  # characters of a message. Only one that quotes an absurdly long text is longer


class FacedexError(Exception):
    """Base of all errors that facedex raises on purpose."""

    def __init__(self, message: str) -> None:
        """The middle of a message of more than 1,000 characters is left out: its ends name the thing and the remedy."""
        half = _MOST // 2
        super().__init__(message if len(message) <= _MOST else f"{message[:half]}…{message[-half:]}")


class PhotoError(FacedexError):
    """One photo cannot be used."""


class PhotoNotFound(PhotoError):
    """There is no such file."""


class PhotoUnreadable(PhotoError):
    """The file is broken, empty, truncated or not permitted to be read."""


class PhotoUnsupported(PhotoError):
    """The file is no picture, or its format is not supported."""


class PhotoTooLarge(PhotoError):
    """The photo is above the cap on bytes or on pixels."""


class NoFace(PhotoError):
    """No face was found in the photo, or not the face that was asked for."""

    @classmethod
    def at_all(cls, photo: str) -> NoFace:
        """The error for a photo in which the detector finds nothing."""
        return cls(f"{photo} shows no face that could be found; use a clearer photo")


class SeveralFaces(PhotoError):
    """Several faces were found where exactly one was asked for."""


class XmpUnusable(PhotoError):
    """The sidecar or the embedded XMP of a photo cannot be read or written."""


class VideoUnusable(FacedexError):
    """A video is missing, or it cannot be read."""


class ModelError(FacedexError):
    """A model file is missing or broken, or the model cannot do what was asked."""


class DataError(FacedexError):
    """Training or evaluation data cannot be used."""


class GalleryError(FacedexError):
    """A gallery cannot be used."""


class GalleryNotFound(GalleryError):
    """There is no gallery in the folder."""


class GalleryBusy(GalleryError):
    """Another process is writing to the gallery."""


class GalleryDamaged(GalleryError):
    """The gallery's records are broken."""


class GalleryMismatch(GalleryError):
    """The gallery was made with another model or a newer facedex."""


class EngineError(GalleryError):
    """The search engine that holds the gallery's index refuses, or holds another index."""


class EngineAway(EngineError):
    """The search engine that holds the gallery's index does not answer."""


class PersonNotFound(GalleryError):
    """No person of that name is enrolled."""


class PersonConflict(GalleryError):
    """A change would mix up two people: a name is taken, or a face belongs to somebody else.

    `details`: whose face it is, where the server knows.
    """

    def __init__(self, message: str, details: object = None) -> None:
        super().__init__(message)
        self.details = details


class UndoConflict(GalleryError):
    """A change cannot be undone, because another one came in between or stands in the way."""


class FaceNotFound(GalleryError):
    """No face has that id, or no picture of it can be made any more."""


class GroupNotFound(GalleryError):
    """No group of scanned faces has that number."""


class NameInvalid(FacedexError):
    """A text cannot be a person's name."""


class NameDoubtful(FacedexError):
    """The names of photos are hardly people's: a camera gave them, or a folder holds photos of different people."""


class MissingExtra(FacedexError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """`what` begins the message: the thing that needs the packages. `extra`: the extra of facedex to install."""
        super().__init__(f"{what} needs packages that are not installed; run: pip install 'facedex[{extra}]'")


class BrokenPackage(FacedexError):
    """A package that facedex needs is missing, or is there in part only."""


class MissingProgram(FacedexError):
    """A program that facedex calls is not installed, or it is too old."""


class RequestError(FacedexError):
    """The server cannot use a request."""


class RequestRefused(RequestError):
    """A request comes from a page of another site, or names a host that is not this server."""


class TokenMissing(RequestError):
    """A request has no token, or its token does not allow this."""


class RequestTooLarge(RequestError):
    """A request is above a limit on bytes, photos or fields."""


class RequestUnsupported(RequestError):
    """The body of a request is of a type that is not read."""


class RequestSlow(RequestError):
    """The body of a request does not arrive."""


class ServerBusy(RequestError):
    """Too many requests wait already. `seconds`: when to try again."""

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds
