"""Photos that a page asks about again: the same answers without the photo, for a while, and small pictures."""

import base64
import io

import pytest
from PIL import Image

from facedex.errors import NoFace
from facedex.photos import images
from facedex.photos.inputs import given_photo
from facedex.recognition.embedding import EncodedPhoto, KnownPhoto
from facedex.server.recent_photos import RecentPhotos
from tests.helpers import drawn_face
from tests.servers import READ, client, jpeg, photo

ASKED = "/v1/identify?keep=true&top=3"


@pytest.fixture
def server(tmp_path):
    with client(tmp_path / "g") as opened:
        yield opened


def blank():
    file = io.BytesIO()
    Image.new("RGB", (200, 200)).save(file, "PNG")
    return ("photo", ("blank.png", file.getvalue(), "image/png"))


def again(opened, *ids, query="top=3"):
    answer = opened.post(f"/v1/identify?{query}", json={"photos": list(ids)})
    assert answer.status_code == 200, answer.text
    return answer.json()["photos"]


def test_an_id_gives_the_answer_of_the_photo_and_nothing_is_decoded(server, monkeypatch):
    assert server.post("/v1/people", files=[photo(0)], data={"name": "Ada"}).status_code == 201
    sent = server.post(ASKED, files=[photo(0, 1), blank()]).json()["photos"]
    assert sent[0]["faces"][0]["name"] or sent[0]["faces"][1]["name"]
    assert len({one["id"] for one in sent} - {None}) == 2
    monkeypatch.setattr(images, "decode", None)
    monkeypatch.setattr(server.guard.service.gallery.reader(), "encode_crops", None)
    assert again(server, *(one["id"] for one in sent)) == sent
    (strict,) = again(server, sent[0]["id"], query="fpir=0.0001")
    assert strict["decision"]["threshold"] > sent[0]["decision"]["threshold"]


def test_an_id_gives_the_names_of_now(server):
    (sent,) = server.post(ASKED, files=[photo(0)]).json()["photos"]
    assert sent["faces"][0]["name"] is None
    assert server.post("/v1/people", files=[photo(0)], data={"name": "Ada"}).status_code == 201
    assert again(server, sent["id"])[0]["faces"][0]["name"] == "Ada"


def test_the_error_of_a_photo_without_a_face_keeps_no_pixels(server):
    (sent,) = server.post(ASKED, files=[blank(), blank()]).json()["photos"][:1]
    kept = server.guard.service.recent.find(sent["id"]).encoded
    assert isinstance(kept, NoFace)
    assert str(kept) == sent["error"]
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)


def test_only_a_request_that_asks_for_it_leaves_faces_in_memory(server):
    (sent,) = server.post("/v1/identify", files=[photo(0)]).json()["photos"]
    assert (sent["id"], sent["picture"], len(server.guard.service.recent)) == (None, None, 0)


def test_an_unknown_id_is_told_apart_and_stops_no_other(server):
    (sent,) = server.post(ASKED, files=[photo(0)]).json()["photos"]
    lost, known = again(server, "0" * 32, sent["id"])
    assert lost["id"] is None
    assert "send the photo again" in lost["error"]
    assert known["faces"] == sent["faces"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"photos":[]}', b'{"photos":[1]}', b'{"photos":["x"],"y":1}', b"[" * 9999]
)
def test_json_of_another_shape_is_refused_in_a_sentence(server, body):
    answer = server.post("/v1/identify", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_invalid")
    assert "cannot be used" in answer.json()["error"]["message"]


def test_a_reading_token_may_ask_by_id_and_a_stranger_may_not(tmp_path):
    token = {"token": "full-token-of-a-test", "read_token": READ}
    with client(tmp_path / "g", {"Authorization": f"Bearer {READ}"}, **token) as opened:
        (sent,) = opened.post(ASKED, files=[photo(0)]).json()["photos"]
        assert again(opened, sent["id"]) == [sent]
        opened.headers.clear()
        assert opened.post("/v1/identify", json={"photos": [sent["id"]]}).status_code == 401


def known(number, faces=0):
    return given_photo(b"x%d" % number, "a.jpg"), KnownPhoto("a.jpg", EncodedPhoto([None] * faces, [], [], None, None))


def test_a_photo_goes_when_nobody_asks_for_it(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("facedex.server.recent_photos.time.monotonic", lambda: now[0])
    recent = RecentPhotos(seconds=10)
    first, second = recent.keep(*known(1)), recent.keep(*known(2))
    now[0] = 108
    assert recent.find(first) is not None  # a question keeps it for longer
    now[0] = 115
    recent.forget()
    assert len(recent) == 1
    assert recent.find(second) is None
    now[0] = 126
    assert recent.find(first) is None
    assert len(recent) == 0


def test_those_go_first_that_were_asked_about_longest_ago():
    recent = RecentPhotos(most=10)
    first, second = recent.keep(*known(1, 4)), recent.keep(*known(2, 3))
    assert recent.find(first) is not None
    third = recent.keep(*known(3, 3))
    assert [recent.find(one) is not None for one in (first, second, third)] == [True, False, True]
    assert recent.keep(*known(3, 3)) == third  # the same photo counts once
    assert len(recent) == 2
    alone = recent.keep(*known(4, 50))
    assert recent.find(alone) is not None  # even where it alone is too much
    assert len(recent) == 1


def test_equal_photos_of_two_names_keep_their_own_errors():
    recent, data = RecentPhotos(), b"the same"
    ids = [recent.keep(given_photo(data, name), KnownPhoto(name, NoFace.at_all(name))) for name in ("a.tif", "b.tif")]
    assert [str(recent.find(one).encoded)[:5] for one in ids] == ["a.tif", "b.tif"]


@pytest.mark.parametrize("kind", ["TIFF", "HEIF"])
def test_a_picture_is_small_upright_and_tells_the_size_of_the_photo(server, kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="needs the extra heic").register_heif_opener()
    wide = Image.new("RGB", (4000, 2000), (120, 130, 140))
    wide.paste(Image.fromarray(drawn_face(3, 1600)), (2300, 200))
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6 if kind == "TIFF" else 1  # the camera was turned by a quarter
    (wide.transpose(Image.Transpose.ROTATE_90) if kind == "TIFF" else wide).save(file, kind, exif=exif)
    (found,) = server.post(
        "/v1/identify?picture=true", content=file.getvalue(), headers={"Content-Type": "image/x"}
    ).json()["photos"]
    assert (found["picture"]["width"], found["picture"]["height"]) == (4000, 2000)
    with Image.open(io.BytesIO(base64.b64decode(found["picture"]["jpeg"]))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (1600, 800))
    (face,) = found["faces"]
    assert face["box"][0] > 2000
    assert found["id"] is None


def test_a_photo_without_a_face_has_a_picture_and_a_broken_one_has_none(server):
    broken = ("photo", ("broken.jpg", jpeg(0)[:300], "image/jpeg"))
    empty, lost = server.post("/v1/identify?picture=true", files=[blank(), broken]).json()["photos"]
    assert (empty["faces"], empty["picture"]["width"]) == ([], 200)
    assert lost["error"]
    assert lost["picture"] is None
