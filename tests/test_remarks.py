"""What is missing of a photo, or where it was read from, is told wherever photos are read."""

import io
import json

import pytest
from PIL import Image

from facedex import cli
from facedex.data import dataset
from facedex.errors import NoFace
from facedex.faces.detector import FaceDetector
from facedex.gallery.gallery import Gallery
from facedex.gallery.reencoding import encode_anew
from facedex.photos.sources import named_photos
from tests.helpers import drawn_face
from tests.tiffs import raw_file


def face(seed=0, side=480):
    return Image.fromarray(drawn_face(seed, side))


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def blank():
    return Image.new("RGB", (480, 480), (130, 130, 130))


PHOTOS = {
    "cut.jpg": (lambda: encoded(face())[:-60], "cut short"),
    "raw.nef": (lambda: raw_file([encoded(face())]), "preview of 480 x 480"),
    "pages.tif": (lambda: encoded(blank(), "TIFF", save_all=True, append_images=[face()]), "page 2"),
}


@pytest.fixture(params=PHOTOS)
def photo(request, tmp_path):
    """A file, and what is to be told of it."""
    make, remark = PHOTOS[request.param]
    path = tmp_path / "photos" / request.param
    path.parent.mkdir()
    path.write_bytes(make())
    return path, remark


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    def call(command, *arguments):
        where = () if command == "detect" else ("-g", tmp_path / "g", "-m", "fast")
        monkeypatch.setattr("sys.argv", ["facedex", command, *map(str, arguments), *map(str, where), "--json"])
        with pytest.raises(SystemExit):
            cli.main()
        out, errors = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()], errors

    return call


def test_every_command_tells_the_remark(photo, run):
    path, remark = photo
    (row,), errors = run("enroll", path, "--name", "Ada")
    assert row["status"] == "enrolled"
    assert remark in row["reason"]
    assert remark in errors
    for command in ("identify", "detect"):
        (row,), errors = run(command, path.parent)
        assert len(row["faces"]) == 1
        assert remark in row["remark"]
        assert errors.count(remark) == 1


def test_verify_tells_the_remark(photo, capsys, monkeypatch):
    path, remark = photo
    monkeypatch.setattr("sys.argv", ["facedex", "verify", str(path), str(path), "-m", "fast", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    out, errors = capsys.readouterr()
    (first, second) = json.loads(out)["remarks"]
    assert first == second
    assert remark in first
    assert str(path) in first
    assert errors.count(remark) == 2


def test_an_ordinary_photo_has_no_remark(run, tmp_path):
    (tmp_path / "ada.jpg").write_bytes(encoded(face()))
    (row,), errors = run("detect", tmp_path / "ada.jpg")
    assert row["remark"] is None
    assert errors == ""


def test_the_face_of_such_a_photo_is_found_again_when_it_is_encoded_anew(photo, tmp_path):
    path, _ = photo
    with Gallery(tmp_path / "g", "fast", create=True) as gallery, named_photos([path], "Ada") as (photos, _):
        assert [result.status for result in gallery.enroll_all(photos)] == ["enrolled"]
        embeddings, lost = encode_anew(gallery._store, gallery.reader())
    assert len(embeddings) == 1
    assert lost == []


def test_training_and_evaluation_look_at_later_pages_too():
    detector = FaceDetector()
    data = encoded(blank(), "TIFF", save_all=True, append_images=[face()])
    assert dataset.aligned_subject(data, "photo", detector).shape == (112, 112, 3)
    with pytest.raises(NoFace):
        dataset.aligned_subject(encoded(blank(), "TIFF"), "photo", detector)


def test_a_photo_without_a_face_is_searched_once(monkeypatch, tmp_path):
    """A second search of the same pixels would find no more."""
    searched = []
    detect = FaceDetector.detect
    monkeypatch.setattr(FaceDetector, "detect", lambda *args, **kw: searched.append(1) or detect(*args, **kw))
    (tmp_path / "blank.jpg").write_bytes(encoded(blank()))
    opened = Gallery(tmp_path / "g", "fast", create=True)
    with opened as gallery, named_photos([tmp_path / "blank.jpg"], "Ada") as (photos, _):
        assert [result.status for result in gallery.enroll_all(photos)] == ["skipped"]
    assert len(searched) == 1
