"""Photos made bad for training: every kind changes pictures, within the range of pixels, and by the generator alone."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from facedex.faces import alignment  # noqa: E402
from facedex.training import badphotos  # noqa: E402
from facedex.training.augment import augment  # noqa: E402
from facedex.training.badphotos import covered, degraded  # noqa: E402
from facedex.training.draws import Draws  # noqa: E402
from tests.synthetic import person_crop  # noqa: E402

KINDS = ["_colour_cast", "_false_colour", "_night", "_out_of_focus", "_moved", "_noisy", "_small", "_compressed"]
COVERS = ["_eyes", "_lower_face", "_edge"]


def pictures(count=6):
    crops = np.stack([person_crop(person, 0) for person in range(count)])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float()


def draws(count, seed=1):
    return Draws(torch.Generator().manual_seed(seed), count, torch.device("cpu"))


@pytest.mark.parametrize("kind", KINDS + COVERS)
def test_every_kind_changes_every_picture_and_repeats_with_its_generator(kind):
    change, x = getattr(badphotos, kind), pictures()
    a, b, c = (change(x.clone(), draws(6, seed)) for seed in (1, 1, 2))
    assert a.shape == x.shape
    assert torch.isfinite(a).all()
    assert ((a - x).abs().mean((1, 2, 3)) > 0.1).all()
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("kind", ["_out_of_focus", "_moved", "_small"])
def test_blur_and_small_sizes_take_detail_and_keep_the_brightness(kind):
    x = pictures()
    y = getattr(badphotos, kind)(x.clone(), draws(6))
    assert (y.diff(dim=3).abs().mean((1, 2, 3)) < 0.7 * x.diff(dim=3).abs().mean((1, 2, 3))).all()
    assert ((y.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs() < 4).all()


def test_covers_lie_where_the_template_has_eyes_and_mouth():
    places = np.round(alignment.TEMPLATE + alignment.MARGIN).astype(int)
    changed = {}
    for kind in ("_eyes", "_lower_face"):
        y = getattr(badphotos, kind)(torch.full((20, 3, 128, 128), -1.0), draws(20))
        changed[kind] = (y[:, 0] >= 0).float().mean(0)
    eyes, mouth = ([changed[kind][y, x] for x, y in places] for kind in ("_eyes", "_lower_face"))
    assert eyes == [1, 1, *eyes[2:]]
    assert max(eyes[2:]) == 0, "neither nose nor mouth"
    assert mouth[3:] == [1, 1]
    assert max(mouth[:2]) == 0


def test_the_share_says_how_many_pictures_become_bad():
    x = pictures(1).expand(400, -1, -1, -1)[:, :, ::4, ::4].contiguous()
    for share, low, high in ((0.0, 0.0, 0.0), (0.3, 0.1, 0.4), (1.0, 0.5, 0.85)):
        y = degraded(x.clone(), draws(400), share)
        changed = float(((y - x).abs().amax((1, 2, 3)) > 0).float().mean())
        assert low <= changed <= high, share
        assert y.min() >= 0
        assert y.max() <= 255
    canvas = pictures(1).expand(200, -1, -1, -1).contiguous()
    assert torch.equal(covered(canvas.clone(), draws(200), 0.0), canvas)
    hidden = (covered(canvas.clone(), draws(200), 1.0) - canvas).abs().amax((1, 2, 3)) > 0
    assert 0.1 < float(hidden.float().mean()) < 0.5


def test_crops_are_made_bad_only_where_the_recipe_asks_for_it():
    canvas = pictures(16).byte()
    plain, asked = (augment(canvas, torch.Generator().manual_seed(3), 80, 0.0, 0.0, bad=bad) for bad in (0.0, 1.0))
    again = augment(canvas, torch.Generator().manual_seed(3), 80, 0.0, 0.0, bad=1.0)
    assert torch.equal(asked, again)
    assert ((asked - plain).abs().mean((1, 2, 3)) > 1).float().mean() > 0.5
    assert asked.shape == plain.shape == (16, 3, 80, 80)
