"""LFW's protocol: the pairs, the ten folds, and every figure of the report recomputed longhand."""

import itertools

import numpy as np
import pytest
from PIL import Image

from facedex.errors import DataError
from facedex.evaluation.embedded_photos import read_listed
from facedex.evaluation.matchers import model_matcher
from facedex.evaluation.pairs_protocol import Pair, evaluate_pairs, pairs_report, photos_of, read_pairs
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.model.encoder import GraphEncoder
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from tests.helpers import drawn_face, make_model, save_blank, save_face


def evaluated(model, pairs, folder, progress=None):
    """The report of one model on these pairs."""
    matchers = [model_matcher(model, "m")]
    photos = read_listed(folder, photos_of(pairs), matchers, progress=progress)
    return evaluate_pairs(matchers, pairs, photos)[0]


def pairs_file(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


# the file


def test_a_file_with_folds(tmp_path):
    rows = ["2\t2"]
    for fold in "ab":
        rows += [f"{fold}1\t1\t2", f"{fold}2\t3\t14", f"{fold}1\t1\t{fold}2\t1", f"{fold}2\t2\t{fold}1\t2"]
    found = read_pairs(pairs_file(tmp_path / "pairs.txt", *rows))
    assert found[1] == Pair("a2/a2_0003", "a2/a2_0014", True, 0)
    assert found[2] == Pair("a1/a1_0001", "a2/a2_0001", False, 0)
    assert [pair.fold for pair in found] == [0] * 4 + [1] * 4
    assert [pair.same for pair in found] == [True, True, False, False] * 2


def test_a_file_without_folds_is_cut_into_ten_of_equal_parts(tmp_path):
    rows = ["30", *[f"p{i}\t1\t2" for i in range(30)], *[f"p{i}\t1\tq{i}\t1" for i in range(30)]]
    found = read_pairs(pairs_file(tmp_path / "pairs.txt", *rows))
    expected = [i // 3 for i in range(30)]
    assert [pair.fold for pair in found if pair.same] == expected
    assert [pair.fold for pair in found if not pair.same] == expected


def test_unequal_parts_differ_by_one_at_most(tmp_path):
    rows = ["25", *[f"p{i}\t1\t2" for i in range(25)], *[f"p{i}\t1\tq{i}\t1" for i in range(25)]]
    folds = [pair.fold for pair in read_pairs(pairs_file(tmp_path / "pairs.txt", *rows)) if pair.same]
    counts = np.bincount(folds)
    assert len(counts) == 10
    assert set(counts) == {2, 3}
    assert folds == sorted(folds)


def test_names_outside_ascii_empty_lines_and_windows_line_ends(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes("2\r\n\r\nÉva\t1\t2\r\nb\t1\t2\r\na\t1\tb\t1\r\nb\t2\ta\t1\r\n\r\n".encode())
    assert read_pairs(path)[0] == Pair("Éva/Éva_0001", "Éva/Éva_0002", True, 0)


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ("",),
        ("not a number",),
        ("2", "a\t1\t2"),
        ("1", "a\t1\t2", "a\t1\tb\t1", "c\t1\t2"),
        ("2", "a\t1\t2", "b\t1\t2", "a\t1\tb\t1", "a\tb"),
        ("2", "a\t1\t2", "b\t1\tx", "a\t1\tb\t1", "a\t2\tb\t1"),
        ("2", "a\t1\t2", "b\t1\t2\t3\t4", "a\t1\tb\t1", "a\t2\tb\t1"),
        ("0",),
        ("-2",),
    ],
)
def test_what_is_no_pairs_file_is_refused(tmp_path, rows):
    with pytest.raises(DataError, match=r"pairs\.txt"):
        read_pairs(pairs_file(tmp_path / "pairs.txt", *rows))


def test_a_bad_line_is_named(tmp_path):
    rows = ("2", "a\t1\t2", "b\t1\tx", "a\t1\tb\t1", "a\t2\tb\t1")
    with pytest.raises(DataError, match="Line 3 "):
        read_pairs(pairs_file(tmp_path / "pairs.txt", *rows))


def test_pairs_that_allow_no_choice_of_a_threshold_are_refused(tmp_path):
    with pytest.raises(DataError, match="add pairs"):
        read_pairs(pairs_file(tmp_path / "few.txt", "1", "a\t1\t2", "a\t1\tb\t1"))
    with pytest.raises(DataError, match="add pairs"):
        read_pairs(pairs_file(tmp_path / "same.txt", "2", *["a\t1\t2"] * 4))


def test_a_missing_or_binary_file_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for path in (tmp_path / "gone.txt", tmp_path / "binary", tmp_path):
        with pytest.raises(DataError):
            read_pairs(path)


def test_lfws_own_file(shared):
    found = read_pairs(shared / "lfw" / "pairsDevTest.txt")
    assert len(found) == 1000
    assert sum(pair.same for pair in found) == 500
    for fold in range(10):
        assert [pair.same for pair in found if pair.fold == fold] == [True] * 50 + [False] * 50
    assert all((shared / "lfw" / "images" / f"{pair.a}.jpg").exists() for pair in found)


# the figures


def longhand(scores, same, folds):
    """Ten-fold accuracy, its standard error, TAR at FAR, AUC: by trying everything."""
    accuracies = []
    for fold in sorted(set(folds)):
        others = [(s, y) for s, y, f in zip(scores, same, folds, strict=True) if f != fold]
        genuine, impostor = [s for s, y in others if y], [s for s, y in others if not y]
        ordered = sorted({s for s, _ in others}, reverse=True)
        middles = [(a + b) / 2 for a, b in itertools.pairwise(ordered)]
        thresholds = [ordered[0] + 1, *middles, ordered[-1]]
        best = max(
            thresholds,  # max keeps the first of equals: the highest threshold
            key=lambda t: round(
                sum(s >= t for s in genuine) / len(genuine) + sum(s < t for s in impostor) / len(impostor), 9
            ),
        )
        mine = [(s, y) for s, y, f in zip(scores, same, folds, strict=True) if f == fold]
        accuracies.append(sum((s >= best) == y for s, y in mine) / len(mine))
    mean = sum(accuracies) / len(accuracies)
    deviation = (sum((a - mean) ** 2 for a in accuracies) / (len(accuracies) - 1)) ** 0.5
    genuine = [s for s, y in zip(scores, same, strict=True) if y]
    impostor = [s for s, y in zip(scores, same, strict=True) if not y]
    tar = {}
    for far in (0.1, 0.01, 0.001):
        allowed = [t for t in genuine if sum(s >= t for s in impostor) / len(impostor) <= far]
        tar[far] = max((sum(s >= t for s in genuine) / len(genuine) for t in allowed), default=0.0)
    wins = sum((g > i) + (g == i) / 2 for g in genuine for i in impostor)
    return mean, deviation / len(accuracies) ** 0.5, tar, wins / len(genuine) / len(impostor)


@pytest.mark.parametrize("seed", range(8))
def test_the_report_is_the_longhand_one(seed):
    rng = np.random.default_rng(seed)
    folds = np.repeat(np.arange(10), 12)
    same = np.tile([True] * 6 + [False] * 6, 10)
    # Quarters, so that scores tie within and between the kinds, and float32 holds them and their middles exactly.
    scores = (np.round(4 * (rng.normal(0, 2, 120) + np.where(same, 3, 0))) / 4).astype(np.float32)
    found = pairs_report(scores, same, folds, [])
    accuracy, error, tar, auc = longhand(scores.tolist(), same.tolist(), folds.tolist())
    assert found.accuracy == pytest.approx(accuracy)
    assert 0.6 < accuracy < 0.95
    assert found.accuracy_se == pytest.approx(error)
    assert found.tar == pytest.approx(tar)
    assert found.auc == pytest.approx(auc)
    assert found.pairs == 120


def test_the_threshold_of_a_fold_is_chosen_on_the_others():
    """In one fold everything lies ten higher: it must be judged by the others' threshold, and fail."""
    folds, same = np.repeat(np.arange(10), 4), np.tile([True, True, False, False], 10)
    scores = np.where(same, 1.0, -1.0) + np.where(folds == 9, 10.0, 0.0)
    found = pairs_report(scores.astype(np.float32), same, folds, [])
    assert found.accuracy == pytest.approx((9 + 0.5) / 10)


def test_pairs_without_a_face_count_as_different():
    folds, same = np.repeat(np.arange(10), 4), np.tile([True, True, False, False], 10)
    scores = np.where(same, 1.0, -1.0).astype(np.float32)
    scores[0] = scores[2] = -np.inf
    found = pairs_report(scores, same, folds, ["x"])
    assert found.accuracy == pytest.approx((9 + 0.75) / 10)
    assert found.failed == ["x"]
    assert found.tar[0.1] == pytest.approx(19 / 20)


# photos


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twelve drawn people, two photos each that differ in size and light, and all pairs of a file."""
    folder = tmp_path_factory.mktemp("drawn")
    for seed in range(12):
        person = folder / f"p{seed:02d}"
        save_face(person / f"p{seed:02d}_0001.png", seed)
        darker = (drawn_face(seed, 200) * 0.8).astype(np.uint8)
        Image.fromarray(darker).save(person / f"p{seed:02d}_0002.png")
    rows = ["12", *[f"p{i:02d}\t1\t2" for i in range(12)], *[f"p{i:02d}\t1\tp{(i + 5) % 12:02d}\t2" for i in range(12)]]
    return read_pairs(pairs_file(folder / "pairs.txt", *rows)), folder


def test_photos_are_scored_as_longhand(drawn):
    pairs, folder = drawn
    model, detector = read_model(shipped_model()), FaceDetector()
    encoder, head = GraphEncoder(model), Head.from_file(model)

    def embedded(name):
        pixels = np.asarray(Image.open(folder / f"{name}.png"))
        (face,) = detector.detect(pixels)
        return encoder.encode(alignment.align(pixels, face.landmarks)[None])[0][0]

    scores = [float(head.logits(embedded(pair.a), embedded(pair.b))) for pair in pairs]
    accuracy, error, tar, auc = longhand(scores, [pair.same for pair in pairs], [pair.fold for pair in pairs])
    found = evaluated(model, pairs, folder)
    assert found.pairs == 24
    assert found.failed == []
    assert found.accuracy == pytest.approx(accuracy)
    assert found.accuracy_se == pytest.approx(error)
    assert found.tar == pytest.approx(tar)
    assert found.auc == pytest.approx(auc)


def test_progress_ends_at_all_photos(drawn):
    pairs, folder = drawn
    told = []
    evaluated(read_model(shipped_model()), pairs, folder, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (24, 24)
    assert all(total == 24 for _, total in told)


def test_a_photo_without_a_face_and_a_broken_one_are_listed(drawn, tmp_path):
    pairs, folder = drawn
    for person in sorted(folder.glob("p*/")):
        (tmp_path / person.name).mkdir()
        for photo in person.iterdir():
            (tmp_path / person.name / photo.name).write_bytes(photo.read_bytes())
    save_blank(tmp_path / "p03" / "p03_0001.png")
    (tmp_path / "p04" / "p04_0002.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    found = evaluated(read_model(shipped_model()), pairs, tmp_path)
    assert found.failed == ["p03/p03_0001", "p04/p04_0002"]
    assert found.pairs == 24
    (tmp_path / "p05" / "p05_0001.png").unlink()
    with pytest.raises(DataError, match=r"p05_0001.*--images"):
        evaluated(read_model(shipped_model()), pairs, tmp_path)


def test_where_nobody_has_a_face_nothing_is_claimed(tmp_path):
    for name in "ab":
        for number in (1, 2):
            save_blank(tmp_path / name / f"{name}_{number:04d}.png")
    pairs = read_pairs(pairs_file(tmp_path / "p.txt", "2", "a\t1\t2", "b\t1\t2", "a\t1\tb\t1", "a\t2\tb\t2"))
    with pytest.raises(DataError, match="No face"):
        evaluated(read_model(shipped_model()), pairs, tmp_path)


def test_the_subject_of_a_photo_of_several_people_counts(tmp_path):
    """As in LFW, another person may be in the picture, even with a somewhat larger face."""
    for seed in range(4):
        wide = np.full((400, 1000, 3), 128, np.uint8)
        wide[80:320, 380:620], wide[:280, 720:] = drawn_face(seed), drawn_face(50 + seed, 280)
        (tmp_path / f"p{seed}").mkdir()
        Image.fromarray(wide).save(tmp_path / f"p{seed}" / f"p{seed}_0001.png")
        save_face(tmp_path / f"p{seed}" / f"p{seed}_0002.png", seed)
    rows = ["4", *[f"p{i}\t1\t2" for i in range(4)], *[f"p{i}\t1\tp{(i + 1) % 4}\t2" for i in range(4)]]
    model = read_model(make_model(tmp_path / "m.safetensors"))
    found = evaluated(model, read_pairs(pairs_file(tmp_path / "p.txt", *rows)), tmp_path)
    assert found.auc == 1.0


def test_the_baseline_runs_unsplit(tmp_path):
    """In torch, whose own head the scores must agree with: pairs, everybody against everybody, signs of both kinds."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    from facedex.training.siamese import Siamese, to_file

    network = Siamese("koch").eval()
    with torch.no_grad():
        network.head.v[::3] *= -0.5
    to_file(network, {}).save(tmp_path / "koch.safetensors")
    matcher = model_matcher(read_model(tmp_path / "koch.safetensors"))
    vectors = matcher.encode(np.stack([drawn_face(seed, 112) for seed in range(3)]))
    assert vectors.shape == (3, 4096)
    assert matcher.calibration is None
    whole = torch.from_numpy(vectors)
    with torch.no_grad():
        expected = network.head.pairwise(whole, whole).numpy()
    points = matcher.points(vectors)
    assert np.allclose(matcher.block(points, points), expected, atol=1e-4)
    i, j = np.triu_indices(3)
    assert np.allclose(matcher.listed(points, i, j), expected[i, j], atol=1e-4)


def test_real_pairs_are_told_apart(shared, tmp_path):
    lines = (shared / "lfw" / "pairsDevTest.txt").read_text().splitlines()
    some = ["20", *lines[1:21], *lines[501:521]]
    pairs = read_pairs(pairs_file(tmp_path / "pairs.txt", *some))
    found = evaluated(read_model(shipped_model()), pairs, shared / "lfw" / "images")
    assert found.failed == []
    assert found.auc > 0.85
    assert found.accuracy > 0.7


def test_no_interval_passes_100_percent_where_folds_are_unequal():
    rng = np.random.default_rng(2)
    same = np.repeat([True, False], 11)
    folds, people = np.tile(np.arange(11) % 10, 2), np.stack([np.arange(22), np.arange(22)], 1)
    passed = 0
    for _ in range(30):
        found = pairs_report(rng.normal(3 * same, 1), same, folds, [], people).figures["accuracy", ""]
        assert found.draws.max() <= 1
        passed += found.draws.max() == 1
    assert passed
