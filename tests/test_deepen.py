"""The script that gives a trained network more blocks."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import deepen

from facedex.encoder import open_encoder
from facedex.modelfile import read_model, shipped_model


def test_the_deeper_model_answers_as_the_shipped_one(tmp_path, capsys):
    path, shipped = tmp_path / "deeper.safetensors", read_model(shipped_model())
    blocks = [number + 1 for number in shipped.meta.get("blocks", [1, 2, 2])]
    assert deepen.main(["--blocks", ",".join(map(str, blocks)), "--output", str(path)]) == 0
    deeper = read_model(path)
    assert deeper.meta["blocks"] == blocks and deeper.meta["calibration"] == shipped.meta["calibration"]
    assert deeper.mirrored is shipped.mirrored and deeper.size == shipped.size
    assert sum(t.size for t in deeper.tensors.values()) > sum(t.size for t in shipped.tensors.values())
    crops = np.random.default_rng(3).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    before, after = (open_encoder(model).encode(crops)[0] for model in (shipped, deeper))
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize("blocks", ["1,1,1", "9", "1,2,2,2"])
def test_what_cannot_be_is_said(tmp_path, capsys, blocks):
    assert deepen.main(["--blocks", blocks, "--output", str(tmp_path / "m.safetensors")]) == 2
    assert "deepen.py: Blocks" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_word_is_no_number_of_blocks(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        deepen.main(["--blocks", "two", "--output", str(tmp_path / "m.safetensors")])
    assert stopped.value.code == 2 and "2,3,2" in capsys.readouterr().err
