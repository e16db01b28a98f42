"""The options that tell how an ONNX encoder takes its faces, shared by train and evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.options import parse_channels, parse_landmarks

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
            parse_landmarks(self.points, "--points"),
        )
