"""A face and its mirror image, encoded as one, wherever an embedding comes from."""

import json
from dataclasses import replace

import numpy as np
import pytest

from facedex.encoder import GraphEncoder
from facedex.mirror import both_ways
from facedex.modelfile import read_graph, read_model, shipped_model
from facedex.onnxencoder import OnnxEncoder


def crops(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def models():
    """The shipped model, as it ships and as one that sees each face once."""
    shipped = read_model(shipped_model())
    return shipped, replace(shipped, meta={**shipped.meta, "mirrored": False})


def test_the_mean_is_of_each_face_and_its_own_mirror_image():
    faces = crops(3).astype(np.float32)
    seen = []

    def raw(batch):
        seen.append(len(batch))
        return batch[:, 5, :2].reshape(len(batch), -1)

    expected = (faces[:, 5, :2] + faces[:, 5, [-1, -2]]) / 2
    np.testing.assert_allclose(both_ways(raw, faces), expected.reshape(3, -1))
    assert seen == [6]  # in one pass


def test_the_shipped_model_gives_a_face_and_its_mirror_image_one_embedding(models):
    mirrored, once = models
    assert mirrored.mirrored and not once.mirrored
    faces = crops(3)
    both, lengths = GraphEncoder(mirrored).encode(faces)
    np.testing.assert_allclose(GraphEncoder(mirrored).encode(faces[:, :, ::-1])[0], both, atol=1e-5)
    (left, one), (right, other) = (GraphEncoder(once).encode(way) for way in (faces, faces[:, :, ::-1]))
    assert np.abs(left - right).max() > 1e-3
    mean = (left * one[:, None] + right * other[:, None]) / 2
    np.testing.assert_allclose(lengths, np.linalg.norm(mean, axis=1), rtol=1e-4)
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1)[:, None], atol=1e-5)


def test_a_gallery_cannot_mix_the_two_ways(models):
    mirrored, once = models
    assert mirrored.fingerprint != once.fingerprint and mirrored.identity != once.identity


def test_a_model_of_before_keeps_its_fingerprint(models):
    _, once = models
    silent = replace(once, meta={key: value for key, value in once.meta.items() if key != "mirrored"})
    assert silent.fingerprint == once.fingerprint and not silent.mirrored


def test_an_encoder_from_elsewhere_is_mirrored_when_asked_for(models):
    mirrored, _ = models
    read_graph(mirrored)
    faces = crops(21)
    plain, both = (OnnxEncoder(mirrored.graph_path, mirrored.size, mirrored=way) for way in (False, True))
    np.testing.assert_allclose(both.encode(faces), GraphEncoder(mirrored).encode(faces)[0], atol=1e-5)
    assert plain.fingerprint != both.fingerprint
    again = OnnxEncoder(mirrored.graph_path, **json.loads(json.dumps(both.preprocessing)))
    assert again.mirrored and again.fingerprint == both.fingerprint
    assert "mirrored" not in plain.preprocessing  # as it was written before there was a choice


def test_training_keeps_what_a_model_says_of_itself(models, tmp_path):
    pytest.importorskip("torch", reason="needs the extra train")
    from facedex.training.model import Siamese, at_size, from_file, to_file

    mirrored, once = models
    faces = crops(3)
    for model in (mirrored, once):
        network = from_file(model)
        assert network.encoder.mirrored is model.mirrored is at_size(network, 112).encoder.mirrored
        np.testing.assert_allclose(network.embed_crops(faces), GraphEncoder(model).encode(faces)[0], atol=2e-5)
        assert to_file(network, {}).mirrored is model.mirrored
    assert Siamese("compact").encoder.mirrored and not to_file(Siamese("koch"), {}).mirrored
