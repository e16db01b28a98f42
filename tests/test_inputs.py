"""Photos in memory: arrays, bytes, open files and Pillow images go wherever a path goes."""

import io
import os

import numpy as np
import pytest
from PIL import Image

import facedex
from facedex import errors
from facedex.photos import images
from facedex.photos.inputs import given_photo, given_photos, person_photos
from facedex.recognition.detection import detect_photos
from tests.helpers import drawn_face, gallery, other_encoder, save_blank, save_face


@pytest.fixture(scope="module")
def ada(tmp_path_factory):
    return save_face(tmp_path_factory.mktemp("photos") / "ada.png", 0)


@pytest.fixture(scope="module")
def known(ada, tmp_path_factory):
    """A gallery of Ada, which tests do not change."""
    with gallery(tmp_path_factory.mktemp("known") / "g") as it:
        it.enroll("Ada", ada)
        yield it


@pytest.fixture
def opened(tmp_path):
    with gallery(tmp_path / "g") as it:
        yield it


class Upload:
    """As web frameworks hand over a file: a `read`, which may give less than was asked for, and no more."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size=-1):
        return self._file.read(min(size, 10_000))


def every_kind(path):
    """The same photo in every way to give it."""
    data, array = path.read_bytes(), images.read_photo(path)
    return {
        "text": str(path),
        "path": path,
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "file": io.BytesIO(data),
        "upload": Upload(data),
        "image": Image.fromarray(array),
        "open image": Image.open(path),
        "array": array,
        "turned array": np.asfortranarray(array),
        "view": np.pad(array, ((5, 5), (7, 7), (0, 0)))[5:-5, 7:-7],
    }


def test_every_kind_gives_the_same_pixels(ada):
    expected = images.read_photo(ada)
    for kind, photo in every_kind(ada).items():
        pixels = next(given_photo(photo).pages())
        assert (pixels.dtype, pixels.shape) == (np.uint8, expected.shape), kind
        assert np.array_equal(pixels, expected), kind


def test_every_kind_is_identified_alike(ada, known):
    expected = known.identify(ada)
    assert expected.faces[0].name == "Ada"
    for kind, photo in every_kind(ada).items():
        (found,) = facedex.identify(known, photo)
        assert found.faces[0].name == "Ada", kind
        assert found.faces[0].box == expected.faces[0].box, kind
        assert found.faces[0].similarity == pytest.approx(expected.faces[0].similarity, abs=1e-5), kind


def test_a_batch_may_mix_all_kinds(ada, known):
    photos = every_kind(ada)
    found = list(facedex.identify(known, photos.values()))
    assert [photo.faces[0].name for photo in found] == ["Ada"] * len(photos)
    named = {kind: photo.photo for kind, photo in zip(photos, found, strict=True)}
    assert named["text"] == named["path"] == str(ada)
    assert named["array"] == "array 240 x 240 x 3"
    assert named["image"] == "image of 240 x 240 pixels"
    assert named["bytes"] == f"photo of {ada.stat().st_size:,} bytes"


def test_two_photos_of_any_kind_are_compared(ada):
    verifier = facedex.Verifier("fast")
    array = drawn_face(0)
    assert verifier.verify(ada, array).same
    assert verifier.verify(array, io.BytesIO(ada.read_bytes())).same
    with pytest.raises(errors.PhotoUnsupported, match="NoneType is no photo"):
        verifier.verify(ada, None)


def test_faces_come_with_boxes_landmarks_embeddings_and_quality(tmp_path, ada):
    both = np.concatenate([drawn_face(0), drawn_face(1)], axis=1)
    faces = facedex.find_faces(both, "fast")
    assert len(faces) == 2
    for face in faces:
        assert face.embedding.shape == (128,)
        assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
        assert face.landmarks.shape == (5, 2)
        assert face.quality.length > 0
        assert 0 < face.score <= 1
    assert sorted(face.box[0] > 240 for face in faces) == [False, True]
    (alone,) = facedex.find_faces(ada, "fast")
    left = min(faces, key=lambda face: face.box[0])
    assert alone.embedding @ left.embedding > 0.9
    assert facedex.find_faces(save_blank(tmp_path / "blank.png"), "fast") == []
    with pytest.raises(errors.PhotoNotFound):
        facedex.find_faces(tmp_path / "gone.jpg", "fast")


def test_a_replaced_model_file_is_loaded_anew(tmp_path, ada):
    from facedex.recognition.embedding import _reader

    path = other_encoder(tmp_path / "m.safetensors")
    first = _reader(path, "cpu")
    assert _reader(path, "cpu") is first
    os.utime(path, ns=(1, 1))
    assert _reader(path, "cpu") is not first


def test_grey_arrays_are_grey_photos():
    grey = np.asarray(Image.fromarray(drawn_face(0)).convert("L"))
    pixels = next(given_photo(grey).pages())
    assert pixels.shape == (*grey.shape, 3)
    assert np.array_equal(pixels[..., 0], grey)
    assert np.array_equal(pixels[..., 2], grey)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16", "F"])
def test_a_pillow_image_of_any_mode_is_a_photo(mode):
    image = Image.fromarray(drawn_face(0))
    if mode in ("I;16", "F"):
        image = image.convert("L").convert("I" if mode == "I;16" else "F")
    assert next(given_photo(image.convert(mode)).pages()).shape == (240, 240, 3)


def test_a_pillow_image_is_turned_upright():
    image = Image.fromarray(drawn_face(0)[:200])
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by a quarter
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    with Image.open(io.BytesIO(file.getvalue())) as turned:
        pixels = next(given_photo(turned).pages())
    assert np.array_equal(pixels, np.rot90(np.asarray(image), -1))


NO_PHOTOS = [
    (None, "NoneType is no photo; give a path"),
    (3.5, "float is no photo"),
    (np.zeros((9, 9, 3)), "array 9 x 9 x 3 of float64 is no photo; give uint8"),
    (np.zeros((9, 9, 4), np.uint8), "array 9 x 9 x 4 of uint8 is no photo"),
    (np.zeros((0, 9, 3), np.uint8), "array 0 x 9 x 3 of uint8 is no photo"),
    (np.zeros(9, np.uint8), "array 9 of uint8 is no photo"),
    (np.zeros((2, 9, 9, 3), np.uint8), "array 2 x 9 x 9 x 3 of uint8 is no photo"),
    (np.array("party.jpg"), "is no photo"),
    (b"", "photo of 0 bytes is empty"),
    (b"no picture at all", "photo of 17 bytes is not a picture in a known format"),
    (dict, "type is no photo"),
]


@pytest.mark.parametrize(("thing", "said"), NO_PHOTOS, ids=[said[:20] for _, said in NO_PHOTOS])
def test_what_is_no_photo_is_a_typed_error_for_that_photo(thing, said, ada, known):
    (before, bad, after) = facedex.identify(known, [ada, thing, ada])
    assert before.faces[0].name == after.faces[0].name == "Ada"
    assert said in bad.error
    assert isinstance(bad.exception, errors.PhotoError)
    assert str(bad.exception) == bad.error
    with pytest.raises(errors.PhotoError):
        facedex.find_faces(thing, "fast")
    with pytest.raises(errors.PhotoError):
        known.identify(thing)
    with pytest.raises(errors.PhotoError):
        known.enroll("Bob", thing)
    (detected,) = detect_photos([thing])
    assert said in detected.error


def test_a_file_that_cannot_be_read_is_a_typed_error(tmp_path, ada):
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(errors.PhotoUnreadable, match="file without a name cannot be read"):
        next(given_photo(closed).pages())
    with pytest.raises(errors.PhotoUnreadable, match="gives no bytes; rewind it by seek"):
        next(given_photo(io.BytesIO()).pages())
    with open(ada, encoding="utf-8") as opened_as_text:
        for text in (io.StringIO("text"), opened_as_text):
            with pytest.raises(errors.PhotoUnsupported, match="gives text in place of bytes; open it in binary mode"):
                next(given_photo(text).pages())
    with open(ada, "rb") as file:
        assert given_photo(file).name == str(ada)


def test_caps_hold_in_memory_too(monkeypatch):
    huge = np.broadcast_to(np.zeros(3, np.uint8), (20_000, 20_000, 3))  # takes no memory until it is copied
    with pytest.raises(errors.PhotoTooLarge, match="20000 x 20000 pixels"):
        next(given_photo(huge).pages())
    with pytest.raises(errors.PhotoTooLarge, match="20000 x 20000 pixels"):
        next(given_photo(Image.new("1", (20_000, 20_000))).pages())
    monkeypatch.setattr(images, "MAX_BYTES", 100_000)
    for photo in (bytes(100_001), Upload(bytes(100_001)), io.BytesIO(bytes(200_000))):
        with pytest.raises(errors.PhotoTooLarge, match="is larger than"):
            next(given_photo(photo).pages())


@pytest.mark.parametrize("long", ["x" * 6_200_000, "folder/" * 900_000, b"x" * 6_200_000, "x" * 5000])
def test_no_text_makes_a_long_error(long, known):
    (found,) = facedex.identify(known, long)
    assert len(found.error) < 1100
    assert len(found.photo) < 500
    (result,) = known.enroll_all([("Ada", long)])
    assert (result.status, len(result.reason) < 1100, len(result.photo) < 500) == ("skipped", True, True)
    with pytest.raises(errors.PhotoUnreadable if isinstance(long, str) else errors.PhotoUnsupported) as caught:
        images.read_photo(long) if isinstance(long, str) else known.identify(long)
    assert len(str(caught.value)) < 1100


def test_a_photo_is_read_when_it_is_drawn(ada, opened):
    """The caller may close a file, and may write the next frame into the same array."""
    opened.enroll_all([("Ada", drawn_face(0)), ("Bob", drawn_face(1))])
    frame = np.empty((240, 240, 3), np.uint8)

    def frames():
        for seed in (0, 1, 0, 1):
            frame[:] = drawn_face(seed)
            yield frame

    assert [photo.faces[0].name for photo in facedex.identify(opened, frames())] == ["Ada", "Bob", "Ada", "Bob"]

    def files():
        for _ in range(3):
            with open(ada, "rb") as file:
                yield file

    assert [photo.faces[0].name for photo in facedex.identify(opened, files())] == ["Ada"] * 3


def test_one_photo_is_one_photo(ada, known):
    one = ("got.jpg", ada, b"abc", bytearray(b"abc"), io.BytesIO(b"a\nb"), drawn_face(0), Image.new("L", (9, 9)))
    for photo in one:
        assert len(list(facedex.identify(known, photo))) == 1
        assert len(list(given_photos(photo))) == 1
    (gone,) = facedex.identify(known, "got.jpg")
    assert gone.error == "got.jpg does not exist; check the path"
    assert [photo.photo for photo in detect_photos("got.jpg")] == ["got.jpg"]


def test_one_folder_is_one_folder(tmp_path, opened):
    """A text was taken letter by letter."""
    photo = save_face(tmp_path / "people" / "Ada.png", 0)
    with facedex.named_photos(str(tmp_path / "people")) as (photos, total):
        assert (total, [result.name for result in opened.enroll_all(photos)]) == (1, ["Ada"])
    with facedex.named_photos(str(photo), "Ada") as (_, total):
        assert total == 1
    assert opened.vanished(str(tmp_path / "people")) == []


def test_enrolling_is_done_when_it_returns(ada, opened):
    assert opened.enroll("Ada", ada).status == "enrolled"
    assert opened.faces == 1
    opened.enroll_all([("Bob", drawn_face(1)), ("Cy", drawn_face(2))])
    assert opened.faces == 3
    assert [result.status for result in opened.iter_enroll([("Di", drawn_face(3))])] == ["enrolled"]
    assert opened.faces == 4


def test_an_array_is_enrolled_once(opened):
    assert opened.enroll("Ada", drawn_face(0)).status == "enrolled"
    assert opened.enroll("Ada", drawn_face(0)).status == "known"
    assert opened.enroll("Ada", Image.fromarray(drawn_face(0))).status == "known"
    with pytest.raises(errors.GalleryError, match="not enrolled as 'Bob': this very face is enrolled as 'Ada'"):
        opened.enroll("Bob", drawn_face(0))
    assert len(opened) == 1
    (stored,) = opened._store.photos()
    assert stored.source == f"memory:{stored.photo}"
    assert opened.identify(drawn_face(0)).faces[0].name == "Ada"


def test_a_photo_that_cannot_be_enrolled_is_an_error_of_its_kind(tmp_path, ada, opened):
    with pytest.raises(errors.NoFace):
        opened.enroll("Ada", np.full((200, 200), 130, np.uint8))
    with pytest.raises(errors.PhotoNotFound):
        opened.enroll("Ada", tmp_path / "gone.jpg")
    with pytest.raises(errors.NameInvalid):
        opened.enroll("unknown", ada)
    with pytest.raises(errors.SeveralFaces):
        opened.enroll("Ada", save_face(tmp_path / "two.png", 0, 1), strict=True)
    assert opened.enroll("Ada", save_face(tmp_path / "both.png", 0, 1), face=2).status == "enrolled"
    assert len(opened) == 1


def test_a_photo_without_a_face_names_nobody(known):
    found = known.identify(np.full((200, 200), 130, np.uint8))
    assert found.faces == ()
    assert "shows no face" in found.error


def test_many_people_come_from_a_folder_from_pairs_or_from_a_dictionary(tmp_path, opened):
    save_face(tmp_path / "people" / "Ada.png", 0)
    save_face(tmp_path / "people" / "Bob" / "1.png", 1)
    assert [result.name for result in opened.enroll_all(tmp_path / "people")] == ["Ada", "Bob"]
    assert [result.name for result in opened.enroll_all({"Cy": drawn_face(2), "Di": drawn_face(3)}.items())] == [
        "Cy",
        "Di",
    ]
    assert [person.name for person in opened.people()] == ["Ada", "Bob", "Cy", "Di"]
    with pytest.raises(errors.DataError, match="does not exist"):
        opened.enroll_all(tmp_path / "gone")


def test_one_bad_pair_does_not_stop_the_others(ada, opened):
    results = opened.enroll_all([("unknown", drawn_face(1)), ("Bob", None), ("Ada", ada)])
    assert [result.status for result in results] == ["skipped", "skipped", "enrolled"]
    assert "answer for strangers" in results[0].reason
    assert isinstance(results[1].exception, errors.PhotoUnsupported)


@pytest.mark.parametrize("wrong", [["Ada"], [("Ada", "a.jpg", 1)], ("Ada", "a.jpg"), [None]])
def test_what_is_no_pair_is_refused_loudly(wrong, opened):
    with pytest.raises(errors.DataError, match="cannot be enrolled; give pairs"):
        opened.enroll_all(wrong)
    with pytest.raises(errors.DataError):
        list(person_photos(wrong))


def test_a_photo_given_as_bytes_is_known_by_its_path_later(ada, opened):
    assert opened.enroll("Ada", ada.read_bytes()).status == "enrolled"
    assert opened.enroll("Ada", ada).status == "known"
    (moved,) = opened.enroll_all([("Ada", ada)], update=True)
    assert moved.status == "moved"
    assert [photo.source for photo in opened._store.photos()] == [str(ada)]


def test_another_model_cannot_encode_a_photo_that_was_given_as_an_array(tmp_path, ada, opened):
    opened.enroll_all([("Ada", ada), ("Bob", drawn_face(1))])
    asked = []
    lost = opened.reindex(other_encoder(tmp_path / "m.safetensors"), losing=asked.extend)
    assert len(lost) == 1
    assert lost[0].startswith("memory:")
    assert asked == lost
    assert [person.name for person in opened.people()] == ["Ada"]
