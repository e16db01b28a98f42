"""The options that tell how an ONNX encoder takes its faces, shared by train and evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.errors import DataError

if TYPE_CHECKING:
    from facedex.model.modelfile import ModelFile

ENCODER_SIZE = 112  # pixels a side of the input of most face encoders

MeanOption = Annotated[
    str, typer.Option(help="ONNX encoder: subtracted from each pixel (0 to 255); one number, or R,G,B.")
]
ScaleOption = Annotated[
    str, typer.Option(help="ONNX encoder: multiplies each pixel after --mean; one number, or R,G,B.")
]
RgbOption = Annotated[bool, typer.Option("--rgb/--bgr", help="ONNX encoder: order of the colour channels.")]
MirroredOption = Annotated[
    bool,
    typer.Option(
        "--mirrored",
        help="ONNX encoder: average the embeddings of a face and its mirror image, which takes twice the time.",
    ),
]
PointsOption = Annotated[
    str | None,
    typer.Option(help="ONNX encoder: where it expects the landmarks, ten numbers X,Y,... in its pixels."),
]


@dataclass(frozen=True)
class EncoderInput:
    """The values of the options above."""

    mean: str
    scale: str
    rgb: bool
    mirrored: bool
    points: str | None

    def is_default(self) -> bool:
        """Whether none of the options was given."""
        return self == EncoderInput("0", "1", True, False, None)

    def read_encoder(self, file: Path, size: int) -> ModelFile:
        """Read an ONNX encoder that takes faces of `size` pixels a side.

        Raises DataError for an option that cannot be parsed, ModelError for a file that cannot be used.
        """
        from facedex.model.foreign import foreign_model

        return foreign_model(
            file,
            size,
            parse_channels(self.mean, "--mean"),
            parse_channels(self.scale, "--scale"),
            self.rgb,
            self.mirrored,
            parse_landmarks(self.points),
        )


def parse_channels(text: str, option: str) -> list[float]:
    """One number for all colour channels, or three numbers R,G,B. Raises DataError."""
    values = _parse_numbers(text)
    if len(values) not in (1, 3):
        raise DataError(f"{option} takes one number, or three numbers R,G,B; not {text!r}")
    return values


def parse_landmarks(text: str | None) -> list[tuple[float, float]] | None:
    """Five points (x, y) from the ten numbers of --points; None where it was not given. Raises DataError."""
    if text is None:
        return None
    values = _parse_numbers(text)
    if len(values) != 10:
        raise DataError(
            f"--points takes ten numbers X,Y,... of the eyes, the nose and the corners of the mouth; not {text!r}"
        )
    return list(zip(values[::2], values[1::2], strict=True))


def _parse_numbers(text: str) -> list[float]:
    """Numbers with commas between them; empty when one of them is no number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []
