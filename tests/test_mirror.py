"""A face and its mirror image, encoded as one, wherever an embedding comes from."""

from dataclasses import replace

import numpy as np
import pytest

from facedex.model.encoder import GraphEncoder, TorchEncoder
from facedex.model.foreign import foreign_model
from facedex.model.mirror import both_ways
from facedex.model.modelfile import read_model
from tests.helpers import grid_graph, own_model, own_network


def crops(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of ours, as such are and as one that sees each face once."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    own_model(path)
    mirrored = read_model(path)
    return mirrored, replace(mirrored, meta={**mirrored.meta, "mirrored": False})


def test_the_mean_is_of_each_face_and_its_own_mirror_image():
    faces = crops(3).astype(np.float32)
    seen = []

    def raw(batch):
        seen.append(len(batch))
        return batch[:, 5, :2].reshape(len(batch), -1)

    expected = (faces[:, 5, :2] + faces[:, 5, [-1, -2]]) / 2
    np.testing.assert_allclose(both_ways(raw, faces), expected.reshape(3, -1))
    assert seen == [6]  # in one pass


def test_a_model_of_ours_gives_a_face_and_its_mirror_image_one_embedding(models):
    mirrored, once = models
    assert mirrored.mirrored
    assert not once.mirrored
    faces = crops(3)
    both, lengths = GraphEncoder(mirrored).encode(faces)
    np.testing.assert_allclose(GraphEncoder(mirrored).encode(faces[:, :, ::-1])[0], both, atol=1e-5)
    (left, one), (right, other) = (GraphEncoder(once).encode(way) for way in (faces, faces[:, :, ::-1]))
    assert np.abs(left - right).max() > 1e-3
    mean = (left * one[:, None] + right * other[:, None]) / 2
    np.testing.assert_allclose(lengths, np.linalg.norm(mean, axis=1), rtol=1e-4)
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1)[:, None], atol=1e-5)


def test_the_models_that_ship_see_each_face_once():
    for name in ("default", "fast"):
        assert not read_model(name).mirrored
    faces = crops(1)
    encoder = GraphEncoder(read_model("fast"))
    assert np.abs(encoder.encode(faces)[0] - encoder.encode(faces[:, :, ::-1])[0]).max() > 1e-3


def test_mirroring_changes_a_models_identity(models):
    mirrored, once = models
    assert mirrored.fingerprint != once.fingerprint
    assert mirrored.identity != once.identity


def test_a_model_that_does_not_say_sees_each_face_once(models):
    _, once = models
    silent = replace(once, meta={key: value for key, value in once.meta.items() if key != "mirrored"})
    assert silent.fingerprint == once.fingerprint
    assert not silent.mirrored


def test_an_encoder_from_elsewhere_is_mirrored_when_asked_for(tmp_path):
    (tmp_path / "e.onnx").write_bytes(grid_graph())
    plain, both = (foreign_model(tmp_path / "e.onnx", mirrored=way) for way in (False, True))
    assert both.mirrored
    assert not plain.mirrored
    assert plain.fingerprint != both.fingerprint
    faces = crops(7)
    found, lengths = GraphEncoder(both).encode(faces)
    sides = [GraphEncoder(plain).encode(way) for way in (faces, faces[:, :, ::-1])]
    mean = sum(vectors * long[:, None] for vectors, long in sides) / 2
    np.testing.assert_allclose(lengths, np.linalg.norm(mean, axis=1), rtol=1e-4)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean, axis=1)[:, None], atol=1e-5)
    pytest.importorskip("torch", reason="needs the extra train")
    np.testing.assert_allclose(TorchEncoder(both, "cpu").encode(faces)[0], found, atol=1e-5)


def test_training_keeps_what_a_model_says_of_itself(models):
    pytest.importorskip("torch", reason="needs the extra train")
    from facedex.training.siamese import Siamese, at_size, from_file, to_file

    mirrored, once = models
    faces = crops(3)
    for model in (mirrored, once):
        network = from_file(model)
        assert network.encoder.mirrored is model.mirrored is at_size(network, 112).encoder.mirrored
        np.testing.assert_allclose(network.embed_crops(faces), GraphEncoder(model).encode(faces)[0], atol=2e-5)
        assert to_file(network, {}).mirrored is model.mirrored
    assert own_network().encoder.mirrored
    assert not to_file(Siamese("koch"), {}).mirrored
