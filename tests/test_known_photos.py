"""Photos that were scanned are identified without another look, and the answers are those of a fresh look."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from facedex.faces import detector
from facedex.gallery.gallery import Gallery
from facedex.library.known_photos import known_photos
from facedex.library.scan import list_photos, scan
from facedex.photos import images
from facedex.photos.sources import source_of
from facedex.recognition.embedding import KnownPhoto
from facedex.recognition.identification import identify
from facedex.results import identify_json, identify_rows, json_line
from facedex.store import expiry
from facedex.store.face_links import NOT_FACE, NOT_PERSON
from tests.helpers import drawn_face, lines, record, save_blank, save_face, unit

NOBODY = unit(3, seed=77)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A scanned library of photos of every kind, with two people enrolled and strangers besides."""
    folder = tmp_path_factory.mktemp("known")
    photos = folder / "photos"
    save_face(photos / "ada.png", 1)
    save_face(photos / "trip" / "both.png", 1, 2)
    save_face(photos / "three.png", 3, 2, 4, side=200)
    save_face(photos / "small.png", 5, side=60)
    save_blank(photos / "nobody.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    Image.fromarray(255 - drawn_face(6)).save(photos / "negative.png")
    save_face(photos / "cut.jpg", 7)
    content = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(content[: int(len(content) * 0.97)])
    pages = [Image.new("RGB", (200, 200)), Image.fromarray(drawn_face(8))]
    pages[0].save(photos / "pages.tif", save_all=True, append_images=pages[1:])
    with Gallery(folder / "g", "fast", create=True) as opened:
        save_face(folder / "two.png", 2, side=220)
        opened.enroll("Ada", photos / "ada.png")
        opened.enroll("Bob", folder / "two.png")
        opened.add_faces([record(f"other {n}", vector) for n, vector in enumerate(NOBODY)])
        list(scan(opened, list_photos(photos)))
    return folder


@pytest.fixture
def library(base, tmp_path):
    """A copy of that gallery, and the folder of its photos, which tests leave as they are."""
    with Gallery(shutil.copytree(base / "g", tmp_path / "g")) as opened:
        yield opened, base / "photos"


def answers(opened, photos, **options):
    """The results, as text too, and in the order in which they came."""
    found = list(identify(opened, photos, **options))
    return [(photo.photo, photo.error, photo.remark, json_line(identify_json(photo)), identify_rows(photo), photo.faces)
            for photo in found]  # fmt: skip


def same(opened, folder, **options):
    """Fail unless the answers about what was scanned are those of a fresh look, to the last digit of JSON."""
    paths = [str(path) for path in sorted(folder.rglob("*.*"))]
    known, fresh = answers(opened, known_photos(opened, paths), **options), answers(opened, paths, **options)
    assert [one[:5] for one in known] == [one[:5] for one in fresh]
    for mine, right in zip(known, fresh, strict=True):
        for face, other in zip(mine[5], right[5], strict=True):
            assert (face.box, face.quality, face.reason) == (other.box, other.quality, other.reason)
            np.testing.assert_array_equal(face.face.landmarks, other.face.landmarks)
    return known


def test_answers_are_those_of_a_fresh_look(library):
    opened, folder = library
    found = {os.path.basename(one[0]): one for one in same(opened, folder, top=3)}
    assert [face.name for face in found["both.png"][5]] == ["Ada", "Bob"]
    assert "page 2" in found["pages.tif"][2]
    assert "cut short" in found["cut.jpg"][2]
    assert "shows no face" in found["nobody.png"][1]
    assert found["negative.png"][5][0].quality.unusual
    same(opened, folder, prior=0.01, fpir=0.2, allow_repeat=True)
    same(opened, folder, keep_pixels=True)


def test_answers_follow_what_is_enrolled_renamed_and_merged(library, tmp_path):
    opened, folder = library
    opened.enroll("Cy", folder / "three.png", face=1)
    opened.rename("Ada", "Ada Lovelace")
    same(opened, folder)
    opened.merge("Bob", "Cy")
    found = same(opened, folder)
    assert {face.name for one in found for face in one[5]} >= {"Ada Lovelace", "Cy"}
    opened.remove("Cy")
    same(opened, folder)


def test_known_photos_are_neither_read_nor_encoded(library, monkeypatch):
    opened, folder = library
    paths = [str(path) for path in sorted(folder.rglob("*.*")) if path.name != "broken.jpg"]
    monkeypatch.setattr(images, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    monkeypatch.setattr(opened, "reader", lambda device: pytest.fail("a network was loaded"))
    assert len(list(identify(opened, known_photos(opened, paths)))) == len(paths)


def test_a_copy_is_known_by_its_content_and_a_changed_photo_is_not(library, tmp_path):
    opened, folder = library
    copy = shutil.copyfile(folder / "ada.png", tmp_path / "copy.png")
    changed = shutil.copy2(folder / "ada.png", tmp_path / "changed.png")
    content = bytearray(changed.read_bytes())
    content[-20] ^= 1  # of the same size, and in a part that no decoder reads for the picture
    changed.write_bytes(bytes(content))
    kinds = [isinstance(photo, KnownPhoto) for photo in known_photos(opened, [copy, changed, tmp_path / "missing.png"])]
    assert kinds == [True, False, False]


def test_another_detector_and_deleted_faces_ask_for_a_fresh_look(library, monkeypatch):
    opened, folder = library
    name(opened, folder / "trip" / "both.png", 0, "Eve")
    name(opened, folder / "trip" / "both.png", 1, "Zoe")
    opened.remove("Eve")
    (photo,) = known_photos(opened, [folder / "trip" / "both.png"])
    assert photo.encoded is None
    (found,) = identify(opened, [photo])
    assert [(face.name, face.confirmed) for face in found.faces] == [("Ada", False), ("Zoe", True)]
    monkeypatch.setattr(detector, "VERSION", detector.VERSION + 1)
    (photo,) = known_photos(opened, [folder / "ada.png"])
    assert photo.encoded is None


def name(opened, photo, row, person):
    """Give one scanned face of a photo a name, and enroll the person by a face like nobody's."""
    with opened.changing_library() as store:
        number = store.library.file(str(photo)).photo
        faces = store.library.faces_of_photo(number)
        vector = unit(1, seed=len(person) + ord(person[0]))[0]
        store.name_scanned(person, [record(person, vector)], [int(faces.ids[row])])


@pytest.mark.parametrize("keep_pixels", [False, True])
def test_a_name_that_a_person_gave_wins_over_recognition(library, keep_pixels):
    opened, folder = library
    name(opened, folder / "trip" / "both.png", 0, "Eve")
    name(opened, folder / "three.png", 2, "Bob B.")  # recognition knows no such face
    both = folder / "trip" / "both.png"
    (found,) = identify(opened, known_photos(opened, [both]), keep_pixels=keep_pixels)
    assert [(face.name, face.confirmed) for face in found.faces] == [("Eve", True), ("Bob", False)]
    assert found.faces[0].candidates[0].name == "Eve"
    assert found.faces[0].reason is None
    assert [face["named_by"] for face in identify_json(found)["faces"]] == ["library", "recognition"]
    (fresh,) = identify(opened, [both])
    assert [face.name for face in fresh.faces] == ["Ada", "Bob"]


def test_nobody_else_in_the_photo_gets_a_name_that_a_person_gave(library):
    opened, folder = library
    both = folder / "trip" / "both.png"
    with opened.changing_library() as store:
        faces = store.library.faces_of_photo(store.library.file(str(both)).photo)
        store.name_scanned("Bob", [], [int(faces.ids[0])])  # a decision against all appearances
    (found,) = identify(opened, known_photos(opened, [both]))
    assert (found.faces[0].name, found.faces[0].confirmed, found.faces[1].confirmed) == ("Bob", True, False)
    assert found.faces[1].name != "Bob"
    (found,) = identify(opened, known_photos(opened, [both]), allow_repeat=True)
    assert [face.name for face in found.faces] == ["Bob", "Bob"]


def test_a_name_without_an_enrolled_photo_wins_too(library):
    opened, folder = library
    name(opened, folder / "ada.png", 0, "Eve")
    opened.remove_photos(opened.enrolled_photos("Eve")[1])
    (found,) = identify(opened, known_photos(opened, [folder / "ada.png"]))
    assert (found.faces[0].name, found.faces[0].confirmed, found.faces[0].candidates) == ("Eve", True, ())
    (face,) = identify_json(found)["faces"]
    assert (face["named_by"], face["logit"], face["candidates"]) == ("library", None, [])


def test_a_name_whose_consent_has_expired_is_not_given(library, monkeypatch):
    opened, folder = library
    name(opened, folder / "ada.png", 0, "Eve")
    opened.set_consent("Eve", expires="1d")
    monkeypatch.setattr(expiry, "today", lambda: "2999-01-01")
    (found,) = identify(opened, known_photos(opened, [folder / "ada.png"]))
    assert (found.faces[0].name, found.faces[0].confirmed) == ("Ada", False)


def test_the_command_uses_what_scan_knows_and_fresh_does_not(run, library):
    opened, folder = library
    name(opened, folder / "ada.png", 0, "Eve")
    options = ("identify", folder / "ada.png", "--gallery", opened.folder)
    (found,) = lines(run(*options, "--json").out)
    assert [(face["name"], face["named_by"]) for face in found["faces"]] == [("Eve", "library")]
    (found,) = lines(run(*options, "--json", "--fresh").out)
    assert [(face["name"], face["named_by"]) for face in found["faces"]] == [("Ada", "recognition")]
    assert "named" in run(*options).out


def test_a_refused_name_is_not_given_again(library):
    opened, folder = library
    (before,) = identify(opened, known_photos(opened, [folder / "ada.png"]))
    name = before.faces[0].name
    assert name is not None
    with opened.changing_library() as store:
        photo = store.library.file(source_of(str(folder / "ada.png"))).photo
        (face,) = store.library.faces_of_photo(photo).ids.tolist()
        person = opened.find(name)[0].id
        store.library.decide("not-person", "", [face], add={NOT_PERSON: [(face, person)]}, unname=[face])
    (refused,) = identify(opened, known_photos(opened, [folder / "ada.png"]), top=5)
    assert refused.faces[0].name != name
    assert name not in [candidate.name for candidate in refused.faces[0].candidates]
    with opened.changing_library() as store:
        store.library.decide("not-a-face", "", [face], add={NOT_FACE: [(face,)]})
    (statue,) = identify(opened, known_photos(opened, [folder / "ada.png"]), top=5)
    assert (statue.faces[0].name, statue.faces[0].candidates) == (None, ())
