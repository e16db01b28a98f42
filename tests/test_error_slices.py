"""What is done to photos, and the figures drawn from it."""

import json

import numpy as np
import pytest
from PIL import Image

from facedex.errors import DataError, FacedexError
from facedex.evaluation.metrics import tar_at_far
from facedex.faces.alignment import TEMPLATE
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from scripts.benchmarks import error_slices, photo_changes
from scripts.benchmarks.error_slices import Reader, Sample, Slices, nose_offset, tar_interval, threshold_at
from scripts.benchmarks.photo_changes import CHANGES, middle
from tests.helpers import drawn_face, save_face, unit


@pytest.fixture(scope="module")
def reader():
    return Reader(read_model(shipped_model()))


@pytest.fixture(scope="module")
def photo(reader):
    pixels = np.full((300, 360, 3), 140, np.uint8)
    pixels[30:270, 60:300] = drawn_face(3)
    return pixels, reader.face(pixels)[0]


@pytest.mark.parametrize("name", [(group, name) for group in CHANGES for name in CHANGES[group]], ids=str)
def test_no_change_touches_the_photo_itself_and_each_gives_a_picture(photo, name):
    pixels, face = photo
    before = pixels.copy()
    changed, at = CHANGES[name[0]][name[1]](pixels, face)
    assert np.array_equal(pixels, before)
    assert changed.dtype == np.uint8
    assert changed.ndim == 3
    assert changed.shape[2] == 3
    assert (at >= 0).all()
    assert (at < changed.shape[1::-1]).all()
    assert not np.array_equal(changed, pixels)


@pytest.mark.parametrize("width", [20, 60])
def test_a_smaller_photo_has_a_face_of_that_width_and_a_small_one_is_left_alone(photo, reader, width):
    pixels, face = photo
    changed, at = photo_changes.smaller(width)(pixels, face)
    assert changed.shape[1] == round(360 * width / face.box[2])
    np.testing.assert_allclose(at, middle(face) * width / face.box[2])
    if width == 60:
        assert abs(reader.face(changed, at)[0].box[2] - width) < 8
    assert photo_changes.smaller(5000)(pixels, face)[0].shape == pixels.shape


def test_changes_do_what_they_say(photo):
    pixels, face = photo
    texture = [np.abs(np.diff(photo_changes.blurred(s)(pixels, face)[0].astype(int), axis=1)).mean() for s in (1, 3)]
    assert np.abs(np.diff(pixels.astype(int), axis=1)).mean() > texture[0] > texture[1]
    assert abs(photo_changes.lit(0.25)(pixels, face)[0].mean() - pixels.mean() / 4) < 1
    flat = photo_changes.lit(1, 0.25)(pixels, face)[0]
    assert abs(flat.std() - pixels.std() / 4) < 1
    assert abs(flat.mean() - pixels.mean()) < 1
    assert (np.ptp(photo_changes.grey(pixels, face), axis=2) == 0).all()
    errors = [np.abs(photo_changes.recompressed(q)(pixels, face)[0].astype(int) - pixels).mean() for q in (90, 5)]
    assert 0 < errors[0] < errors[1] < 30


def test_covers_hide_what_they_should_and_nothing_else(photo):
    pixels, face = photo
    points = np.round(face.landmarks).astype(int)

    def hidden(cover):
        changed = cover(pixels, face)
        return [bool((changed[y, x] != pixels[y, x]).any()) for x, y in points], (changed != pixels).any(2).mean()

    assert hidden(photo_changes.sunglasses)[0] == [True, True, False, False, False]
    assert hidden(photo_changes.mask)[0] == [False, False, True, True, True]
    assert all(0.01 < hidden(cover)[1] < 0.25 for cover in (photo_changes.sunglasses, photo_changes.mask))


def test_a_turned_face_turns_about_its_middle_against_the_clock(photo):
    pixels, face = photo
    x, y = np.round(middle(face)).astype(int)
    marked = pixels.copy()
    marked[y - 3 : y + 4, x + 47 : x + 54] = (255, 0, 255)
    changed, at = photo_changes.turned(90)(marked, face)
    np.testing.assert_allclose(at, middle(face))
    assert (changed[y - 50, x] == (255, 0, 255)).all()
    assert not (changed[y, x + 50] == (255, 0, 255)).all()
    assert changed.shape == pixels.shape


def test_the_nose_tells_the_pose_whatever_the_size_and_tilt():
    assert nose_offset(TEMPLATE) < 0.02
    aside = TEMPLATE + np.array([[0, 0], [0, 0], [10, 0], [0, 0], [0, 0]])
    expected = nose_offset(aside)
    assert abs(expected - 10 / 35.2) < 0.01
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    assert abs(nose_offset(3 * aside @ turn.T + 7) - expected) < 1e-9
    assert np.isfinite(nose_offset(np.zeros((5, 2))))


def test_a_face_elsewhere_is_not_taken_for_the_one_wanted(photo, reader):
    pixels, face = photo
    assert reader.face(pixels, middle(face)) is not None
    assert reader.face(pixels, np.array([5.0, 5.0])) is None
    assert reader.face(np.full((200, 200, 3), 130, np.uint8)) is None


# figures


def test_tar_is_the_one_of_the_metrics_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)
    same = people[:, None] == people
    scores = (rng.normal(0, 1, (60, 60)) + 3 * same).astype(np.float32)
    distinct = ~np.eye(60, dtype=bool)
    tar, low, high, threshold = tar_interval(scores, people, people, distinct, 0.01)
    assert tar == tar_at_far(scores[same & distinct], scores[~same], 0.01)
    assert (scores[~same] > threshold).mean() <= 0.01
    assert 0 < low <= tar <= high < 1
    assert high - low > 0.03
    narrow = tar_interval(
        np.tile(scores, (2, 2)), *[np.concatenate([people, people + 30])] * 2, np.tile(distinct, (2, 2)), 0.01
    )
    assert narrow[2] - narrow[1] < high - low


def test_the_threshold_by_weight_is_that_of_repeated_scores():
    scores = np.array([9, 7, 5, 3, 1], np.float32)
    times = np.array([2, 1, 3, 2, 2])
    repeated = np.repeat(scores, times)
    for far in (0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.99):
        threshold = threshold_at(scores, times.astype(float), far)
        assert (repeated > threshold).mean() <= far
        lower = scores[scores < threshold]
        if len(lower):  # any lower threshold would let too many pass
            assert (repeated > lower.max()).mean() > far
    assert threshold_at(scores, times.astype(float), 1.0) == -np.inf


def test_perfect_separation_is_1_and_without_pairs_there_are_no_figures():
    people = np.repeat(np.arange(5), 2)
    scores = (people[:, None] == people).astype(np.float32)
    assert tar_interval(scores, people, people, ~np.eye(10, dtype=bool))[:3] == (1, 1, 1)
    with pytest.raises(DataError, match="two photos of a person"):
        tar_interval(np.zeros((3, 3)), np.arange(3), np.arange(3), ~np.eye(3, dtype=bool))


def slices(people=20, **options):
    base = unit(people)
    vectors = [v / np.linalg.norm(v) for v in np.repeat(base, 2, 0) + 0.05 * unit(2 * people, seed=1)]
    samples = [Sample(f"p{i // 2}/{i}", f"p{i // 2}", np.empty(0), None, v) for i, v in enumerate(vectors)]
    return Slices(samples, options.get("pairs", []), Head(np.full(128, 0.7), 12.0)), vectors


def test_a_face_that_is_not_found_is_not_recognised():
    figures, vectors = slices()
    clean = figures.row("as they are", "", vectors)
    assert (clean.tar, clean.tar_fixed, clean.not_found, clean.fmr_fixed) == (1, 1, 0, 0)
    half = figures.row("x", "y", [v if i % 2 else None for i, v in enumerate(vectors)])
    assert (half.tar, half.tar_fixed, half.not_found) == (0.5, 0.5, 0.5)
    none = figures.row("x", "z", [None] * len(vectors))
    assert (none.tar, none.not_found, none.fmr_fixed) == (0, 1, 0)


def test_the_fixed_threshold_is_that_of_the_unchanged_photos():
    figures, vectors = slices()
    figures.row("as they are", "", vectors)
    alike = figures.row("x", "all look the same", [vectors[0]] * len(vectors))
    assert alike.fmr_fixed > 0.01
    assert alike.tar < 0.2


def test_every_slice_of_a_folder_has_its_figures(tmp_path, capsys):
    for person in range(5):
        for i in range(2):
            save_face(tmp_path / f"p{person}" / f"{i}.png", person)
            pixels = np.asarray(Image.open(tmp_path / f"p{person}" / f"{i}.png"), np.float32) * (1 - 0.1 * i)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"p{person}" / f"{i}.png")
    save_face(tmp_path / "single" / "1.png", 9)
    error_slices.main([str(tmp_path), "--only", "colour,jpeg,pose", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["slice"] for row in rows][:5] == ["as they are", *["jpeg"] * 3, "colour"]
    assert rows[0]["photos"] == 10
    assert rows[0]["not_found"] == 0
    assert all(0 <= row["low"] <= row["high"] <= 1 and row["accuracy"] is None for row in rows)


def test_pairs_add_ten_fold_accuracy(tmp_path, capsys):
    lines = ["10"]
    for person in range(10):
        for i in (1, 2):
            save_face(tmp_path / f"p{person}" / f"p{person}_{i:04d}.jpg", person + 20 * (i - 1))
        lines.append(f"p{person}\t1\t2")
    lines += [f"p{person}\t1\tp{(person + 1) % 10}\t1" for person in range(10)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    arguments = [str(tmp_path), "--pairs", str(tmp_path / "pairs.txt"), "--only", "colour", "--json"]
    error_slices.main(arguments)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["change"] for row in rows][1:] == ["none", "viridis", "jet"]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    error_slices.show([error_slices.Row(**row) for row in rows])
    shown = capsys.readouterr().out
    assert "viridis" in shown
    assert "ten-fold" in shown
    assert f"{rows[1]['tar']:.1%}" in shown


def test_bad_arguments_are_clear_errors(tmp_path, capsys):
    save_face(tmp_path / "a" / "1.png")
    with pytest.raises(FacedexError, match="at least two"):
        error_slices.main([str(tmp_path)])
    with pytest.raises(FacedexError, match="missing"):
        error_slices.main([str(tmp_path / "missing")])
    with pytest.raises(SystemExit):
        error_slices.main([str(tmp_path), "--only", "beard"])
    assert "beard" in capsys.readouterr().err
