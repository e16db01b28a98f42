"""A gallery's own copy of its model, so that a newer facedex still answers as before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from facedex.errors import GalleryError, GalleryMismatch, ModelError
from facedex.files import replace_file
from facedex.model.modelfile import ModelFile, read_model
from facedex.store.rows import State


def file_name(model: ModelFile) -> str:
    """The name of a model's copy. It comes from a hash of everything in the model that shapes an answer."""
    return f"model-{model.identity[:16]}.safetensors"


def keep(folder: Path, model: ModelFile) -> ModelFile:
    """Copy a model into a gallery, also over a damaged copy; returns the copy.

    Raises ModelError when the model has no inference graph, GalleryError when the folder cannot be written.
    """
    assert model.path is not None
    model.need_graphs()
    target = folder / file_name(model)
    try:
        data = model.path.read_bytes()
        if not _holds(target, data):
            replace_file(target, data, private=True)
        target.chmod(0o600)  # an older copy may be open to others
    except OSError as error:
        raise GalleryError(
            f"The model cannot be copied to {folder} ({error.strerror}); check space and permissions"
        ) from None
    return read_model(target)


def read(folder: Path, state: State) -> ModelFile:
    """Read a gallery's copy of its model.

    Raises ModelError when the copy is lost or damaged, GalleryMismatch when it is another model.
    """
    path = folder / state.model_file
    try:
        model = read_model(path)
    except ModelError:
        raise ModelError(
            f"The gallery's copy of its model, {path}, is lost or damaged; `facedex doctor` or "
            "`facedex reindex --model FILE` puts it back"
        ) from None
    # The fingerprint covers the encoder alone. A changed head or calibration would change answers unnoticed.
    if model.fingerprint != state.model or file_name(model) != state.model_file:
        raise GalleryMismatch(
            f"{path} is not the model of this gallery; `facedex doctor` or `facedex reindex --model FILE` puts it back"
        )
    return model


def files(folder: Path) -> set[Path]:
    """All copies of models in a gallery, whether or not they are in use."""
    return set(folder.glob("model-*.safetensors"))


def sweep(copies: set[Path], in_use: str) -> None:
    """Delete the copies except the one that is in use, given by its name."""
    for path in copies:
        if path.name != in_use:
            with suppress(OSError):  # Windows deletes no file that a reader has open; the next sweep deletes it
                path.unlink()


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has this content."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False
