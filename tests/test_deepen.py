"""The script that gives a trained network more blocks."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import deepen
from told import told

from facedex.encoder import open_encoder
from facedex.errors import FacedexError
from facedex.modelfile import read_model, shipped_model


def test_the_deeper_model_answers_as_the_shipped_one(tmp_path, capsys):
    path, shipped = tmp_path / "deeper.safetensors", read_model(shipped_model())
    blocks = [number + 1 for number in shipped.meta.get("blocks", [1, 2, 2])]
    deepen.main(["--blocks", ",".join(map(str, blocks)), "--output", str(path)])
    deeper = read_model(path)
    assert deeper.meta["blocks"] == blocks and deeper.meta["calibration"] == shipped.meta["calibration"]
    assert deeper.mirrored is shipped.mirrored and deeper.size == shipped.size
    assert sum(t.size for t in deeper.tensors.values()) > sum(t.size for t in shipped.tensors.values())
    crops = np.random.default_rng(3).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    before, after = (open_encoder(model).encode(crops)[0] for model in (shipped, deeper))
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize("blocks", ["1,1,1", "9", "1,2,2,2"])
def test_what_cannot_be_is_said(tmp_path, blocks):
    with pytest.raises(FacedexError, match="Blocks"):
        deepen.main(["--blocks", blocks, "--output", str(tmp_path / "m.safetensors")])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_said(tmp_path, monkeypatch, capsys):
    file, blocks = tmp_path / "file", ",".join(map(str, read_model(shipped_model()).meta["blocks"]))
    file.touch()
    monkeypatch.setattr(sys, "argv", ["deepen.py", "--blocks", blocks, "--output", str(file / "m.safetensors")])
    with pytest.raises(SystemExit) as stopped:
        told(deepen.main)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith(f"deepen.py: {file} cannot be used (") and said.count("\n") == 1


def test_a_word_is_no_number_of_blocks(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        deepen.main(["--blocks", "two", "--output", str(tmp_path / "m.safetensors")])
    assert stopped.value.code == 2 and "2,3,2" in capsys.readouterr().err
