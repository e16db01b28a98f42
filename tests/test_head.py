"""The head in numpy: the formula, its projection, and the network it was split from."""

import numpy as np
import pytest

from facedex.errors import ModelError
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.model.encoder import GraphEncoder, Networks
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model
from tests.helpers import drawn_face, gallery, make_model, near, own_model, own_network, people, record, unit


@pytest.fixture(scope="module")
def head():
    return Head(np.random.default_rng(0).lognormal(0, 1, 128), 11.5)


@pytest.fixture(scope="module")
def framed():
    """One that sees 128 numbers as 320."""
    rng = np.random.default_rng(1)
    return Head(rng.lognormal(0, 1, 320) / 10, 11.5, rng.standard_normal((320, 128)) / 11)


def test_the_formula_longhand(head):
    a, b = unit(2)
    total = 11.5
    for i in range(128):
        total -= float(head.weight[i]) * abs(float(a[i]) - float(b[i]))
    assert head.logits(a, b) == pytest.approx(total, abs=1e-4)


def test_the_formula_longhand_through_a_frame(framed):
    a, b = unit(2)
    total = 11.5
    for i in range(320):
        seen = [sum(float(framed.frame[i, j]) * float(face[j]) for j in range(128)) for face in (a, b)]
        total -= float(framed.weight[i]) * abs(seen[0] - seen[1])
    assert framed.logits(a, b) == pytest.approx(total, abs=1e-3)
    assert framed.dim == 320
    z = framed.project(unit(2))
    assert z.shape == (2, 320)
    assert np.abs(z[0] - z[1]).sum() == pytest.approx(11.5 - framed.logits(a, b), abs=1e-3)
    a, b = unit(7), unit(5, seed=1)
    np.testing.assert_allclose(framed.pairwise(a, b, 3), framed.logits(a[:, None], b[None]), atol=1e-3)


def test_a_face_is_most_like_itself_and_the_order_of_a_pair_does_not_matter(head):
    a, b = unit(2)
    assert head.logits(a, a) == pytest.approx(11.5)
    assert head.logits(a, b) == head.logits(b, a) < 11.5


def test_logits_broadcast(head):
    a, b = unit(3), unit(5, seed=1)
    table = head.logits(a[:, None], b[None])
    assert table.shape == (3, 5)
    assert table.dtype == np.float32
    assert table[1, 4] == head.logits(a[1], b[4])


@pytest.mark.parametrize("block", [1, 3, 256])
def test_pairwise_logits_do_not_depend_on_the_block_size(head, block):
    a, b = unit(7), unit(5, seed=1)
    np.testing.assert_allclose(head.pairwise(a, b, block), head.logits(a[:, None], b[None]), atol=1e-4)


def test_distance_in_the_projection_is_beta_minus_the_logit(head):
    a, b = unit(2)
    za, zb = head.project(a[None])[0], head.project(b[None])[0]
    assert np.abs(za - zb).sum() == pytest.approx(11.5 - head.logits(a, b), abs=1e-4)


def test_weights_are_softplus_of_what_is_stored_and_never_negative(tmp_path):
    v = np.linspace(-40, 40, 128)
    head = Head.from_file(read_model(make_model(tmp_path / "m.safetensors", v=v, beta=3.25)))
    np.testing.assert_allclose(head.weight, np.log1p(np.exp(v)), rtol=1e-5, atol=1e-12)
    assert (head.weight >= 0).all()
    assert head.beta == 3.25


def test_a_head_of_either_sign_is_refused_with_the_remedy():
    file = ModelFile({"head.v": np.zeros(4), "head.beta": np.array(1.0)}, {"free_sign": True, "arch": "koch"})
    with pytest.raises(ModelError, match="evaluate"):
        Head.from_file(file)


def test_a_projection_does_not_depend_on_the_other_faces_in_the_batch(framed):
    vectors = unit(300)
    whole = framed.project(vectors)
    for rows in (slice(0, 1), slice(7, 9), slice(100, 163)):
        assert np.array_equal(framed.project(vectors[rows]), whole[rows])
    assert np.array_equal(framed.project(vectors[5]), whole[5])
    assert framed.logits(vectors[5], vectors)[5] == 11.5, "a face is itself"


def test_a_head_for_other_embeddings_is_refused():
    facts = {"head.v": np.zeros(8), "head.beta": np.array(1.0)}
    for tensors in (
        {"head.v": np.zeros(9)},
        {"head.frame": np.zeros((8, 3))},
        {"head.frame": np.zeros((4, 8))},
        {"head.frame": np.zeros(8)},
        {"head.frame": np.full((8, 8), np.nan)},
    ):
        with pytest.raises(ModelError, match="other embeddings"):
            Head.from_file(ModelFile({**facts, **tensors}, {"dim": 8}))
    assert Head.from_file(ModelFile(facts, {"dim": 8})).frame is None


def test_a_model_without_a_head_is_refused():
    with pytest.raises(ModelError, match="no head"):
        Head.from_file(ModelFile({}, {}))


# The split network against the unsplit one: graph, index and numpy's head against torch on every pair.


def faces(count):
    """Aligned crops of drawn faces."""
    detector = FaceDetector()
    drawn = [drawn_face(seed) for seed in range(count)]
    return np.stack([alignment.align(pixels, detector.detect(pixels)[0].landmarks) for pixels in drawn])


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def crops():
    return np.concatenate([faces(6), noise(2)])


@pytest.fixture(scope="module")
def network():
    """A network of ours with a head of many weights, as training leaves them."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    made = own_network()
    torch.nn.init.normal_(made.head.v, 0.0, 1.0, generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    own_model(path, network)
    return path


def by_torch(network, crops):
    """Logits of all ordered pairs by torch's Siamese network, fed with both pictures of every pair."""
    import torch

    pictures = torch.from_numpy(alignment.fitted(crops, network.encoder.size)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        return np.stack([network(one.expand_as(pictures), pictures).numpy() for one in pictures])


@pytest.fixture(scope="module")
def unsplit(network, crops):
    return by_torch(network, crops)


def split(folder, model, crops, kind="flat", other=None):
    """The same by graph, gallery, index and numpy; NaN for pairs that the index did not return. `other`: whose head
    compares what `model` encoded.
    """
    vectors, _ = GraphEncoder(read_model(model)).encode(crops)
    fillers = people(unit(1200, seed=7), "filler") if kind == "quantised" else []
    out = np.full((len(crops), len(crops)), np.nan)
    records = [record(f"{i}", vector) for i, vector in enumerate(vectors)]
    with gallery(folder, records + fillers, other or model) as opened:
        opened.reindex(kind=kind)
        for i, vector in enumerate(vectors):
            for one in opened.match(vector, top=400, shortlist=8):
                if not one.name.startswith("filler"):
                    out[i, int(one.name)] = one.logit
    return out


def test_the_split_network_agrees_with_the_unsplit_one_on_every_pair(tmp_path, model, crops, unsplit):
    found = split(tmp_path / "g", model, crops)
    np.testing.assert_allclose(found, unsplit, atol=1e-3)
    assert unsplit.std() > 0.5  # not one number everywhere


def test_an_approximate_index_agrees_with_the_unsplit_network_on_every_pair_found(tmp_path, model, crops, unsplit):
    found = split(tmp_path / "g", model, crops, "quantised")
    there = ~np.isnan(found)
    assert there.diagonal().all()
    assert there.sum() > 12
    np.testing.assert_allclose(found[there], unsplit[there], atol=1e-3)


def test_the_agreement_would_show_a_slightly_different_head(tmp_path, model, crops, unsplit):
    file = read_model(model)
    ModelFile({**file.tensors, "head.v": file.tensors["head.v"] * np.float32(1.01)}, file.meta).save(tmp_path / "m")
    assert np.abs(split(tmp_path / "g", model, crops, other=tmp_path / "m") - unsplit).max() > 1e-3


def test_the_agreement_would_show_a_slightly_different_embedding(model, crops, unsplit):
    file = read_model(model)
    vectors, _ = GraphEncoder(file).encode(crops)
    moved = np.stack([near(vector, i, 0.01) for i, vector in enumerate(vectors)])
    assert np.abs(Head.from_file(file).pairwise(moved, moved) - unsplit).max() > 1e-3


def test_real_faces_agree_too(portraits, tmp_path, model, network):
    from facedex.photos import images

    detector, found = FaceDetector(), []
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg", "grace_hopper.jpg"):
        pixels = images.read_photo(portraits / name)
        found.append(alignment.align(pixels, detector.detect(pixels)[0].landmarks))
    crops = np.stack(found)
    np.testing.assert_allclose(split(tmp_path / "g", model, crops), by_torch(network, crops), atol=1e-3)


def test_a_frozen_encoder_of_two_networks_is_compared_as_its_own_numbers_say(tmp_path, crops):
    """There is no unsplit network of such a model: the formula, in double precision, from what its networks say."""
    file = read_model("default")
    parts = [part.astype(np.float64) for part in Networks(file)(crops)]
    joined = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], 1)
    moved = (joined - file.tensors["projection.centre"]) @ file.tensors["projection.matrix"].astype(np.float64)
    seen = moved / np.linalg.norm(moved, axis=1, keepdims=True) @ file.tensors["head.frame"].astype(np.float64).T
    weight = np.log1p(np.exp(file.tensors["head.v"].astype(np.float64)))
    expected = file.tensors["head.beta"] - (np.abs(seen[:, None] - seen[None]) * weight).sum(-1)
    np.testing.assert_allclose(split(tmp_path / "g", file.path, crops), expected, atol=1e-3)
    assert expected.std() > 0.5
