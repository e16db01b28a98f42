"""The encoders that ship, made again from the files that their makers publish, which are not in the repository."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra train")


from facedex.errors import DataError
from facedex.faces import alignment
from facedex.model.encoder import Networks
from facedex.model.modelfile import ModelFile, read_model
from facedex.model.runtime import openvino_core
from scripts import free_encoders
from tests.helpers import need_openvino


@pytest.fixture(scope="module")
def reid(shared):
    """Intel's network in OpenVINO's own form."""
    path = shared / "teachers" / "face-reidentification-retail-0095.xml"
    if not path.is_file():
        pytest.skip("needs face-reidentification-retail-0095 in ../shared/teachers; see tests/README.md")
    return path


@pytest.fixture(scope="module")
def sface():
    """OpenCV Zoo's network."""
    path = Path(
        os.environ.get("FACEDEX_SFACE") or Path(__file__).parents[1] / ".data" / "face_recognition_sface_2021dec.onnx"
    )
    if not path.is_file():
        pytest.skip("needs SFace's file; FACEDEX_SFACE names it, see tests/README.md")
    return path


@pytest.fixture(scope="module")
def made(reid, sface, tmp_path_factory):
    """What the script writes."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["free_encoders.py", "--reid", str(reid), "--sface", str(sface), "--output", str(folder)]
        )
        free_encoders.main()
    return {name: read_model(folder / f"{name}.safetensors") for name in ("default", "fast")}


def crops(count):
    """Patterns that are as smooth as faces are."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (112, 112), interpolation=cv2.INTER_CUBIC) for one in coarse])


def networks_alone(model):
    """Without what was fitted to people."""
    kept = {name: tensor for name, tensor in model.tensors.items() if name.startswith("graph.")}
    facts = ("arch", "mirrored", "branches")
    return ModelFile(kept, {name: model.meta[name] for name in facts}).fingerprint


@pytest.mark.parametrize("name", ["default", "fast"])
def test_the_encoder_that_ships_is_what_the_script_makes(made, name):
    shipped = read_model(name)
    assert made[name].branches == shipped.branches
    assert made[name].frozen
    assert networks_alone(made[name]) == networks_alone(shipped) == made[name].fingerprint
    assert not any(tensor.startswith(("head.", "projection.")) for tensor in made[name].tensors)


def test_intels_network_agrees_with_openvino_on_the_original_file(made, reid):
    need_openvino()
    core = openvino_core()
    own = core.compile_model(core.read_model(reid), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (branch,) = made["fast"].branches
    expected = []
    for seen in alignment.fitted(crops(8), branch.size, branch.points):
        picture = seen[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        expected.append(own([np.ascontiguousarray(picture)])[0].ravel())
    expected = np.array(expected)
    (found,) = Networks(made["fast"])(crops(8))
    assert found.shape == expected.shape == (8, 256)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_sface_nearly_agrees_with_the_original_file(made, sface):
    """Constants in half precision, the last matrix in 8 bits."""
    net = cv2.dnn.readNetFromONNX(str(sface))
    expected = []
    for crop in crops(8):
        net.setInput(crop.transpose(2, 0, 1)[None].astype(np.float32))
        expected.append(net.forward().ravel().copy())
    expected = np.array(expected)
    assert [branch.name for branch in made["default"].branches] == ["sface", "reid"]
    found = Networks(made["default"])(crops(8))[0]
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.9999
    assert np.ptp(expected, axis=0).max() > 0.1, "not one answer for all"


def test_both_models_hold_the_same_network_of_intel(made):
    assert np.array_equal(Networks(made["default"])(crops(3))[1], Networks(made["fast"])(crops(3))[0])


def test_another_file_than_their_makers_published_is_refused(tmp_path):
    (tmp_path / "x.xml").write_bytes(b"<net/>")
    for read in (free_encoders.from_openvino, free_encoders.from_sface):
        with pytest.raises(DataError, match="is not the file that its makers published"):
            read(tmp_path / "x.xml")
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / "gone.xml")
