"""Doubtful names: a level of folders too many, folders of different people, and names that cameras give."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from facedex import cli
from facedex.errors import NameDoubtful
from facedex.gallery.gallery import Gallery
from facedex.model.head import Head
from facedex.model.modelfile import read_model
from facedex.model.reader import FaceReader
from facedex.photos.sources import named_photos, open_people
from tests.helpers import PLAIN_HEAD, drawn_face, make_model, near, save_blank, unit

SEEDS = {"Ada": 0, "Bob": 1, "Cy": 3, "Di": 6}  # drawings that the encoder tells apart
SHADES = (0, 4, 8, 12)  # added to the pixels of one drawing, for several photos of one person


def drawing(seed, shade=0):
    return np.clip(drawn_face(seed).astype(int) + shade, 0, 255).astype(np.uint8)


def save(path, seed, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing(seed, shade)).save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose head tells drawn people apart."""
    reader, folder = FaceReader(read_model("fast")), tmp_path_factory.mktemp("model")
    vectors = np.stack(
        [reader.read(drawing(seed, shade))[0].vector for seed in SEEDS.values() for shade in SHADES[::3]]
    )
    logits = Head.from_file(read_model(make_model(folder / "plain.safetensors"))).pairwise(vectors, vectors)
    same = np.repeat(np.arange(len(SEEDS)), 2)[:, None] == np.repeat(np.arange(len(SEEDS)), 2)
    middle = (logits[same].min() + logits[~same].max()) / 2
    assert logits[same].min() > logits[~same].max()
    return make_model(folder / "apart.safetensors", beta=PLAIN_HEAD["beta"] - middle, slope=4.0, offset=0.0)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model):
    """Enroll by the command line; returns the exit code, the JSON lines and stderr.

    Lines about suspicious photos are left out: drawn faces resemble each other more than the networks expect.
    """

    def call(*arguments):
        argv = ["facedex", "enroll", *arguments, "-g", tmp_path / "g", "-m", model, "--json"]
        monkeypatch.setattr("sys.argv", [str(argument) for argument in argv])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        done = capsys.readouterr()
        rows = [json.loads(line) for line in done.out.splitlines()]
        return caught.value.code or 0, [row for row in rows if row["status"] != "suspicious"], done.err

    return call


def people(folder, *names):
    """DIR/NAME.png for each of these people."""
    for name in names or SEEDS:
        save(folder / f"{name}.png", SEEDS[name])
    return folder


def packed(root, kind):
    """A folder as what a person may give: itself, or a pack of what is in it."""
    if kind == "folder":
        return root
    name = shutil.make_archive(str(root.parent / "packed"), kind, root)
    return name


KINDS = ["folder", "zip", "tar", "gztar"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", ["database", "home/me/database"])
def test_a_lone_folder_of_people_is_stepped_over(run, tmp_path, kind, above):
    people(tmp_path / "root" / above)
    code, rows, _ = run(packed(tmp_path / "root", kind))
    assert code == 0
    assert [(row["name"], row["status"]) for row in rows] == [(name, "enrolled") for name in SEEDS]
    code, rows, _ = run(packed(tmp_path / "root", kind))
    assert code == 0
    assert {row["status"] for row in rows} == {"known"}


def test_people_in_folders_of_a_lone_folder_are_named_after_them(run, tmp_path):
    for name, seed in SEEDS.items():
        for shade in SHADES[:2]:
            save(tmp_path / "root" / "database" / name / f"{shade}.png", seed, shade=shade)
    code, rows, _ = run(packed(tmp_path / "root", "zip"))
    assert code == 0
    assert [row["name"] for row in rows] == [name for name in SEEDS for _ in range(2)]


@pytest.mark.parametrize("below", ["{}.png", "{}/1.png", "IMG_000{}.png"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_lone_folder_of_one_person_stays_that_persons(run, tmp_path, kind, below):
    for number, (place, shade) in enumerate(zip(("beach", "home", "work"), SHADES, strict=False)):
        file = below.format(number if "IMG" in below else place)
        save(tmp_path / "root" / "Ada" / file, SEEDS["Ada"], shade=shade)
    code, rows, _ = run(packed(tmp_path / "root", kind))
    assert code == 0
    assert {(row["name"], row["status"]) for row in rows} == {("Ada", "enrolled")}


@pytest.mark.parametrize("kind", KINDS)
def test_folders_that_swallow_different_people_are_asked_about(run, tmp_path, kind):
    people(tmp_path / "root" / "group a", "Ada", "Bob")
    people(tmp_path / "root" / "group b", "Cy", "Di")
    source = packed(tmp_path / "root", kind)
    code, rows, errors = run(source)
    assert code == 2
    assert rows == []
    assert "'group a'" in errors
    assert "--name" in errors
    assert errors.count("\n") == 1
    code, rows, _ = run(source, "--yes")
    assert code == 0
    assert [row["name"] for row in rows] == ["group a"] * 2 + ["group b"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_cameras_names_are_asked_about(run, tmp_path, kind):
    for number, seed in enumerate(SEEDS.values()):
        save(tmp_path / "root" / f"IMG_000{number}.png", seed)
    source = packed(tmp_path / "root", kind)
    code, rows, errors = run(source)
    assert code == 2
    assert rows == []
    assert "IMG_0000.png" in errors
    assert "--name" in errors
    code, rows, _ = run(source, "--yes")
    assert code == 0
    assert {row["name"] for row in rows} == {"IMG"}
    code, rows, _ = run(source)
    assert {row["status"] for row in rows} == {"known"}
    assert code == 0


def test_a_doubtful_name_does_not_stop_the_others(run, tmp_path):
    people(tmp_path / "root", "Ada", "Bob")
    people(tmp_path / "root" / "Aa", "Cy", "Di")
    save(tmp_path / "root" / "IMG_0001.png", 9)
    save_blank(tmp_path / "root" / "Blank.png")
    code, rows, errors = run(tmp_path / "root")
    assert code == 1
    status = {row["name"]: row["status"] for row in rows}
    assert status == {"Aa": "skipped", "Ada": "enrolled", "Blank": "skipped", "Bob": "enrolled", "IMG": "skipped"}
    assert "different people" in errors


def test_where_folders_hold_different_people_a_folder_with_one_face_is_doubted_too(run, tmp_path):
    people(tmp_path / "root" / "group a", "Ada", "Bob")
    people(tmp_path / "root" / "group b", "Cy")
    code, rows, _ = run(tmp_path / "root")
    assert code == 2
    assert rows == []
    for shade in SHADES:
        save(tmp_path / "root" / "Di" / f"{shade}.png", SEEDS["Di"], shade)
    code, rows, _ = run(tmp_path / "root")
    assert code == 1
    assert {row["name"]: row["status"] for row in rows} == {
        "Di": "enrolled",
        "group a": "skipped",
        "group b": "enrolled",
    }


def test_photos_of_one_person_are_not_doubted(run, tmp_path):
    for shade in SHADES:
        save(tmp_path / "root" / "Ada" / f"{shade}.png", SEEDS["Ada"], shade=shade)
    people(tmp_path / "root", "Bob")
    code, rows, _ = run(tmp_path / "root")
    assert code == 0
    assert {row["status"] for row in rows} == {"enrolled"}


def test_a_name_by_hand_is_never_doubted(run, tmp_path):
    people(tmp_path / "root")
    code, rows, _ = run(tmp_path / "root", "--name", "The Beatles")
    assert code == 0
    assert {row["name"] for row in rows} == {"The Beatles"}


def test_an_encoding_that_python_does_not_know_is_wrong_usage(run, tmp_path):
    people(tmp_path / "root")
    code, _, errors = run(tmp_path / "root", "--encoding", "klingon")
    assert code == 2
    assert "klingon" in errors


def test_the_library_raises_a_typed_error_and_enrolls_nothing(tmp_path, model):
    people(tmp_path / "root" / "group a", "Ada", "Bob")
    people(tmp_path / "root" / "group b", "Cy", "Di")
    with Gallery(tmp_path / "g", model, create=True) as gallery:
        with named_photos([tmp_path / "root"]) as (photos, _), pytest.raises(NameDoubtful, match="different people"):
            list(gallery.enroll_all(photos))
        assert len(gallery) == 0


def test_people_of_a_lone_folder_are_told_apart_for_training_too(tmp_path):
    for name, seed in SEEDS.items():
        for shade in SHADES[:2]:
            save(tmp_path / "root" / "database" / f"{name}_000{shade}.png", seed, shade)
    with open_people(packed(tmp_path / "root", "zip")) as photos:
        assert {photo.name for photo in photos} == set(SEEDS)


def test_real_folders_are_hardly_doubted_and_mixed_ones_always(shared):
    """On embeddings of real faces: the rule of naming.py."""
    from facedex.decision.calibration import Calibration
    from facedex.gallery.naming import Naming
    from facedex.photos import images

    file = read_model("fast")
    reader, naming = FaceReader(file), Naming(Head.from_file(file), Calibration.from_meta(file.meta))
    folders = sorted(path for path in (shared / "lfw/images").iterdir() if len(list(path.iterdir())) == 3)[:20]
    vectors = [
        [faces[0].vector for photo in sorted(folder.iterdir()) if (faces := reader.read(images.read_photo(photo)))]
        for folder in folders
    ]
    each = [naming._log_odds(own, np.arange(len(own))) for own in vectors if len(own) > 1]
    assert sum(odds < 0 for odds in each) <= 1
    for start in range(0, len(vectors) - 2, 3):
        mixed = [own[0] for own in vectors[start : start + 3]]
        assert naming._log_odds(mixed, np.arange(3)) < 0


def test_a_person_in_two_batches_is_compared_across_them(model):
    """The later photos of a folder are judged with the earlier ones."""
    from facedex.decision.calibration import Calibration
    from facedex.gallery.naming import Naming
    from facedex.photos.sources import NamedPhoto

    file = read_model(model)
    naming = Naming(Head.from_file(file), Calibration.from_meta(file.meta))
    photos = [NamedPhoto("Ada", "Ada/1", "Ada/1.jpg", bytes, parts=("Ada", "1.jpg"))]
    ada, *strangers = unit(5)
    assert naming.doubts(photos, {0: ada}) == {}
    assert naming.doubts(photos, {0: near(ada, noise=0.02)}) == {}
    assert "different people" in naming.doubts(photos * 4, dict(enumerate(strangers)))["Ada"]
