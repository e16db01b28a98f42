"""The copy of its model that a gallery keeps, so that an upgrade of facedex locks nobody out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from facedex.errors import GalleryError, GalleryMismatch, ModelError
from facedex.files import replace_file
from facedex.model.modelfile import ModelFile, read_model
from facedex.store.rows import State


def file_name(model: ModelFile) -> str:
    """What a model's copy is called: after everything in it that shapes an answer."""
    return f"model-{model.identity[:16]}.safetensors"


def keep(folder: Path, model: ModelFile) -> ModelFile:
    """Copy a model into a gallery, in the place of a damaged copy too; returns the copy.

    Raises ModelError when the model has no inference graph, GalleryError when the folder cannot be written.
    """
    assert model.path is not None
    model.need_graphs()
    target = folder / file_name(model)
    parts = [(model.path, target)]
    if model.beside is not None:  # first: the other does without it at no time
        parts.insert(0, (model.beside, target.with_suffix(".onnx")))
    try:
        for source, copy in parts:
            data = source.read_bytes()
            if not _holds(copy, data):
                replace_file(copy, data, private=True)
            copy.chmod(0o600)  # of one that was there
    except OSError as error:
        raise GalleryError(
            f"The model cannot be copied to {folder} ({error.strerror}); check space and permissions"
        ) from None
    return read_model(target)


def read(folder: Path, state: State) -> ModelFile:
    """A gallery's own copy. Raises ModelError when it is lost or damaged, GalleryMismatch when it is another model."""
    path = folder / state.model_file
    try:
        model = read_model(path)
    except ModelError:
        raise ModelError(
            f"The gallery's copy of its model, {path}, is lost or damaged; `facedex doctor` or "
            "`facedex reindex --model FILE` puts it back"
        ) from None
    # The fingerprint is the encoder's alone: a changed head or calibration would answer otherwise unnoticed.
    if model.fingerprint != state.model or file_name(model) != state.model_file:
        raise GalleryMismatch(
            f"{path} is not the model of this gallery; `facedex doctor` or `facedex reindex --model FILE` puts it back"
        )
    return model


def files(folder: Path) -> set[Path]:
    """All models' copies in a gallery, whether or not they are in use."""
    return set(folder.glob("model-*.safetensors")) | set(folder.glob("model-*.onnx"))  # the latter of the first format


def sweep(left: set[Path], keep: str) -> None:
    """Delete copies other than the one in use."""
    for path in left:
        if path.stem != Path(keep).stem:
            with suppress(OSError):  # Windows deletes nothing that a reader has open; the next sweep does
                path.unlink()


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False
