"""What a page shows besides: a person's scanned photos, whole photos, size and condition of the gallery."""

import io

import pytest
from PIL import Image

from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan
from tests.helpers import drawn_face, save_face
from tests.servers import READ, client, photo


@pytest.fixture
def library(tmp_path):
    """A server of a gallery with Ada, whose three scanned photos are named, and the folder of these photos."""
    for number in range(3):
        save_face(tmp_path / "photos" / f"{number}.jpg", 5, side=240 + 40 * number)
    with client(tmp_path / "g") as opened:
        gallery = opened.guard.service.gallery
        assert len(list(scan(gallery, list_photos(tmp_path / "photos")))) == 3
        (group,) = cluster(gallery)
        named = opened.post(f"/v1/groups/{group.number}/name", json={"name": "Ada"}).json()
        yield opened, tmp_path / "photos", named["person"]


def test_the_scanned_photos_of_a_person_come_in_parts_the_clearest_first(library):
    opened, folder, person = library
    whole = opened.get(f"/v1/people/{person}/photos").json()
    assert whole["total"] == 3
    assert {one["photo"] for one in whole["photos"]} == {str(folder / f"{number}.jpg") for number in range(3)}
    quality = [one["quality"] for one in whole["photos"]]
    assert quality == sorted(quality, reverse=True)
    first = opened.get(f"/v1/people/{person}/photos?limit=2").json()
    rest = opened.get(f"/v1/people/{person}/photos?limit=2&cursor={first['next']}").json()
    assert first["photos"] + rest["photos"] == whole["photos"]
    assert rest["next"] is None
    for one in whole["photos"]:
        assert opened.get(one["crop"]).headers["content-type"] == "image/jpeg"


def test_enrolled_faces_count_as_scanned_photos_of_the_person(library):
    opened, folder, person = library
    save_face(folder / "3.jpg", 5, side=300)
    gallery = opened.guard.service.gallery
    assert [one.faces for one in scan(gallery, list_photos(folder / "3.jpg"))] == [1]
    assert opened.get(f"/v1/people/{person}/photos").json()["total"] == 3  # nobody named the new one
    file = ("photo", ("3.jpg", (folder / "3.jpg").read_bytes(), "image/jpeg"))
    assert opened.post(f"/v1/people/{person}/faces", files=[file]).json()["photos"][0]["status"] == "enrolled"
    assert opened.get(f"/v1/people/{person}/photos").json()["total"] == 4


def test_a_whole_photo_is_upright_and_tells_the_size_in_which_boxes_count(library):
    opened, folder, _person = library
    picture = Image.new("RGB", (4000, 2400), (120, 130, 140))
    picture.paste(Image.fromarray(drawn_face(7, 1200)), (2400, 600))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by a quarter
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif)
    gallery = opened.guard.service.gallery
    assert [one.faces for one in scan(gallery, list_photos(folder / "turned.jpg"))] == [1]
    sources = gallery.library.files()
    faces = gallery.library.faces()
    row = next(row for row in range(len(faces)) if faces.box(row)[2] > 400)
    assert len(sources) == 4
    answer = opened.get(f"/v1/faces/s{faces.ids[row]}/photo")
    assert (answer.headers["X-Photo-Width"], answer.headers["X-Photo-Height"]) == ("4000", "2400")
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert shown.size == (1600, 960)
        left, top, width, height = (value * 0.4 for value in faces.box(row))
        inside = shown.convert("L").crop((int(left), int(top), int(left + width), int(top + height)))
        assert max(inside.getextrema()) - min(inside.getextrema()) > 100


def test_a_photo_that_is_gone_or_was_never_a_file_is_refused_in_words(library):
    opened, _folder, person = library
    added = opened.post("/v1/people", data={"name": "Bob"}, files=[photo(1)]).json()["photos"][0]
    assert added["face"].startswith("e")
    answer = opened.get(f"/v1/faces/{added['face']}/photo")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "face_not_found")
    one = opened.get(f"/v1/people/{person}/photos").json()["photos"][0]
    save_face(one["photo"], 9)  # another photo in its place must not be shown
    assert opened.get(f"/v1/faces/{one['face']}/photo").status_code == 404
    for face in ("s999", "x1", "e0", "..%2f..%2fetc"):
        assert opened.get(f"/v1/faces/{face}/photo").status_code == 404
    assert opened.get("/v1/people/999/photos").json()["error"]["code"] == "person_not_found"


def test_an_enrolment_tells_the_face_of_each_photo(tmp_path):
    with client(tmp_path / "g") as opened:
        first = opened.post("/v1/people", data={"name": "Ada"}, files=[photo(0), photo(1)]).json()
        person = first["person"]["id"]
        listed = {one["id"] for one in opened.get(f"/v1/people/{person}/faces").json()["faces"]}
        assert {one["face"] for one in first["photos"]} == listed
        assert len(listed) == 2
        again = opened.post("/v1/people", data={"name": "Ada"}, files=[photo(1)]).json()
        assert (again["photos"][0]["status"], again["photos"][0]["face"]) == ("known", first["photos"][1]["face"])
        broken = ("photo", ("broken.jpg", b"nothing", "image/jpeg"))
        mixed = opened.post("/v1/people", data={"name": "Ada"}, files=[broken, photo(2)]).json()["photos"]
        assert [one["status"] for one in mixed] == ["skipped", "enrolled"]
        assert mixed[0]["face"] is None
        assert mixed[1]["face"] not in listed


def test_the_condition_and_the_size_of_the_gallery_are_told(library):
    opened, _folder, _person = library
    gallery = opened.guard.service.gallery.folder
    assert opened.get("/v1/storage").json()["bytes"] >= (gallery / "gallery.db").stat().st_size
    findings = opened.post("/v1/doctor").json()["findings"]
    assert {one["state"] for one in findings} == {"sound"}
    assert {"database", "records", "index"} <= {one["part"] for one in findings}


def test_a_reading_token_may_not_repair(tmp_path):
    full = "full-token-of-a-test"
    with client(tmp_path / "g", {"Authorization": f"Bearer {READ}"}, token=full, read_token=READ) as opened:
        assert opened.get("/v1/storage").status_code == 200
        assert opened.post("/v1/doctor").status_code == 401
