"""A trained network is turned to targets that are its own, seen from elsewhere, and to no others."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from facedex.data.dataset import Faces  # noqa: E402
from facedex.errors import ModelError  # noqa: E402
from facedex.model.vectors import unit  # noqa: E402
from facedex.training.procrustes import turn_to  # noqa: E402
from facedex.training.recipe import RECIPES  # noqa: E402
from facedex.training.siamese import Siamese, at_size, to_file  # noqa: E402
from facedex.training.trainer import Run  # noqa: E402


def crops(n):
    """Squares of one colour each with a little noise: an untrained network tells these apart."""
    rng = np.random.default_rng(0)
    return np.clip(rng.integers(0, 256, (n, 1, 1, 3)) + rng.normal(0, 20, (n, 112, 112, 3)), 0, 255).astype(np.uint8)


def photos(n):
    """What turn_to asks of Faces."""
    pictures = crops(n)
    return SimpleNamespace(crops112=lambda rows: pictures[rows])


def network():
    """Untrained, but its embeddings lie all round."""
    torch.manual_seed(0)
    model = at_size(Siamese("compact"), 64).eval()
    with torch.no_grad():
        raw = torch.from_numpy(model.raw_crops(crops(200)))
        model.encoder.project.bias.sub_(raw.mean(0))
    return model


def rotation():
    return np.linalg.qr(np.random.default_rng(1).normal(size=(128, 128)))[0].astype(np.float32)


@pytest.mark.parametrize(("count", "turned"), [(600, True), (500, False)])
def test_a_network_is_turned_to_its_own_embeddings_turned(count, turned):
    """500 vectors of 128 numbers could be turned to come near anything."""
    model, faces = network(), photos(count)
    before = model.embed_crops(crops(count))
    assert np.linalg.norm(before.mean(0)) < 0.5, "else a turn of the mean alone would do"
    targets = before @ rotation()
    targets[7] = np.nan
    torch.nn.init.uniform_(model.head.v, 0, 2)
    weight = model.head.weight.mean().item()
    assert turn_to(model, faces, targets) is turned
    after = model.embed_crops(crops(count))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-4)
    known = ~np.isnan(targets[:, 0])
    np.testing.assert_allclose(after[known], (targets if turned else before)[known], atol=2e-2)
    if turned:
        np.testing.assert_allclose(model.head.weight.detach().numpy(), weight, rtol=1e-4)


def test_a_network_that_lies_as_near_as_it_can_is_left_as_it_is():
    """600 photos could be fitted better by a turn, others not: what a half of them says of the other half decides."""
    model, faces = network(), photos(600)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    embeddings = model.embed_crops(crops(600))
    noise = np.random.default_rng(1).normal(size=(600, 128)).astype(np.float32) * 0.75 / np.sqrt(128)
    targets = unit(embeddings + noise)[0]
    assert 0.7 < (embeddings * targets).sum(1).mean() < 0.9
    assert not turn_to(model, faces, targets)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_koch_is_left_alone_and_what_is_not_finite_is_an_error():
    assert not turn_to(Siamese("koch"), photos(1), np.zeros((1, 4096), np.float32))
    model = network()
    with torch.no_grad():
        model.encoder.project.bias.fill_(np.nan)
    with pytest.raises(ModelError, match="finite"):
        turn_to(model, photos(600), np.zeros((600, 128), np.float32))


def test_a_run_from_trained_weights_begins_turned_and_any_other_does_not():
    count, start = 600, network()
    pictures = np.pad(crops(count), ((0, 0), (8, 8), (8, 8), (0, 0)), mode="edge")
    rows = np.arange(count)
    faces = Faces(pictures, rows, rows // 4, [f"p{i}" for i in range(count // 4)], [f"p{i // 4}/{i}" for i in rows])
    file = to_file(start, {})
    own = start.embed_crops(faces.crops112(rows))
    teachers = SimpleNamespace(fingerprint="", targets_of=lambda parts, dim: own @ rotation())
    recipe = replace(RECIPES["compact"], sizes=((0.0, 64),), people=4, photos=2, steps=4)
    run = Run(recipe, faces, teachers, None, torch.device("cpu"), False, file)
    for model in (run.model, run.average.model):
        found = model.embed_crops(faces.crops112(rows))
        assert (found * (own @ rotation())).sum(1).mean() > 0.99
    untaught = Run(recipe, faces, None, None, torch.device("cpu"), False, file)
    assert (untaught.model.embed_crops(faces.crops112(rows)) * own).sum(1).mean() > 0.99
