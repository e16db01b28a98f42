"""The routes of the API: what they answer, and that it is what the command line prints."""

import io
import json
import sqlite3
import threading
import time

import numpy as np
import pytest
from PIL import Image

from facedex import json_shapes, results
from facedex.gallery.backup import restore
from facedex.gallery.gallery import Gallery
from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan
from facedex.recognition.identification import identify
from tests.helpers import near, save_blank, save_face, seen_file, unit
from tests.servers import client, jpeg, photo

from pydantic import TypeAdapter  # isort: skip
from facedex.server import shapes  # isort: skip


@pytest.fixture
def local(tmp_path):
    with client(tmp_path / "g") as opened:
        yield opened


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    """A server of a gallery with Ada and Bob, which no test changes."""
    with client(tmp_path_factory.mktemp("asking") / "g") as opened:
        for number, name in enumerate(("Ada", "Bob")):
            assert enroll(opened, name, number).status_code == 201
        yield opened


def enroll(opened, name, *seeds):
    return opened.post("/v1/people", files=[photo(seed, name=f"{seed}.jpg") for seed in seeds], data={"name": name})


def shaped(answer, model, status=200):
    """The body of an answer, which has exactly the fields of its shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    shape = TypeAdapter(model)
    assert json.loads(shape.dump_json(shape.validate_python(body), by_alias=True)) == body
    return body


def test_the_description_says_what_each_field_means_that_the_command_line_prints_too(asking):
    described = asking.get("/openapi.json").json()["components"]["schemas"]
    for shape in (json_shapes.IdentifiedFace, json_shapes.Verified, json_shapes.Suspicion, json_shapes.LoggedChange):
        properties = described[shape.__name__]["properties"]
        for field, meaning in shape.fields().items():
            if field in properties:  # the fields of objects in it are described with these
                assert properties[field]["description"] == meaning


# Questions


def test_identify_gives_what_the_command_line_prints(asking):
    body = shaped(asking.post("/v1/identify?top=2", files=[photo(0, 1), photo(7)]), shapes.Identified)
    with Gallery(asking.guard.service.gallery.folder) as gallery:
        expected = [results.identify_json(one) for one in identify(gallery, [jpeg(0, 1), jpeg(7)], top=2)]
    for row in expected:
        row.update(photo="photo.jpg", id=None, picture=None)
    assert body["photos"] == json.loads(json.dumps(expected))
    assert {face["name"] for face in body["photos"][0]["faces"]} == {"Ada", "Bob"}


def test_a_photo_may_be_the_body_itself(asking):
    body = shaped(
        asking.post("/v1/identify", content=jpeg(0), headers={"Content-Type": "image/jpeg"}), shapes.Identified
    )
    assert body["photos"][0]["faces"][0]["name"] == "Ada"


def test_one_bad_photo_stops_no_other(asking):
    files = [("photo", ("broken.jpg", b"\xff\xd8\xff nothing", "image/jpeg")), photo(0)]
    broken, whole = shaped(asking.post("/v1/identify", files=files), shapes.Identified)["photos"]
    assert "broken.jpg" in broken["error"]
    assert whole["faces"][0]["name"] == "Ada"


@pytest.mark.parametrize("question", ["detect", "embed", "identify"])
def test_the_error_of_a_lone_photo_is_the_requests(asking, question):
    answer = asking.post(f"/v1/{question}", files=[("photo", ("notes.txt", b"some text", "text/plain"))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "photo_unsupported")
    blank = io.BytesIO()
    Image.new("RGB", (200, 200)).save(blank, "PNG")
    answer = asking.post(f"/v1/{question}", content=blank.getvalue(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    assert answer.json()["photos"][0]["faces"] == []


def test_fpir_and_prior_change_the_answer(asking):
    strict = asking.post("/v1/identify?fpir=0.000001", files=[photo(0)]).json()["photos"][0]
    loose = asking.post("/v1/identify?fpir=0.2&prior=0.9", files=[photo(0)]).json()["photos"][0]
    assert strict["decision"]["threshold"] > loose["decision"]["threshold"]
    body = shaped(asking.get("/v1/threshold?fpir=0.2"), shapes.Threshold)
    assert body["threshold"] == loose["decision"]["threshold"]
    for wrong in ("fpir=0", "fpir=1", "fpir=1e-300", "fpir=nan", "prior=2", "top=0", "top=x"):
        assert asking.post(f"/v1/identify?{wrong}", files=[photo(0)]).status_code == 400


def test_detect_embed_and_verify(asking):
    found = shaped(asking.post("/v1/detect", files=[photo(0, 1)]), shapes.Detected)["photos"][0]["faces"]
    assert [face["number"] for face in found] == [1, 2]
    vectors = shaped(asking.post("/v1/embed", files=[photo(0)]), shapes.Embedded)["photos"][0]["faces"]
    assert np.linalg.norm(vectors[0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert shaped(asking.post("/v1/verify", files=[photo(0), photo(0)]), json_shapes.Verified)["same"] is True
    assert asking.post("/v1/verify", files=[photo(0)]).json()["error"]["code"] == "request_invalid"
    assert asking.post("/v1/verify", files=[photo(0)] * 3).status_code == 400


def test_networks_are_loaded_once(asking, monkeypatch):
    from facedex.model import reader
    from facedex.recognition import detection, embedding, verification

    def again(*_, **__):
        raise AssertionError("networks are loaded a second time")

    for module in (reader, embedding, verification):
        monkeypatch.setattr(module, "FaceReader", again, raising=False)
    for module in (detection, embedding):
        monkeypatch.setattr(module, "FaceDetector", again)
    for question in ("detect", "embed", "identify"):
        assert asking.post(f"/v1/{question}", files=[photo(0)]).status_code == 200
    assert asking.post("/v1/verify", files=[photo(0), photo(1)]).status_code == 200


def test_info_and_health(asking):
    assert shaped(asking.get("/v1/health"), shapes.Health)["status"] == "ok"
    body = shaped(asking.get("/v1/info"), shapes.Info)
    assert (body["people"], body["faces"], body["access"], body["needs_token"]) == (2, 2, "full", False)


# People


def test_a_person_comes_is_renamed_and_goes(local):
    body = shaped(enroll(local, "Ada", 0, 3), shapes.EnrolledPerson, 201)
    person = body["person"]["id"]
    assert [one["status"] for one in body["photos"]] == ["enrolled", "enrolled"]
    assert shaped(local.get(f"/v1/people/{person}"), shapes.Person)["photos"] == 2
    assert shaped(local.patch(f"/v1/people/{person}", json={"name": "Ada L."}), shapes.Person)["name"] == "Ada L."
    assert [one["name"] for one in shaped(local.get("/v1/people"), shapes.People)["people"]] == ["Ada L."]
    assert shaped(local.delete(f"/v1/people/{person}"), shapes.Removed) == {"faces": 2}
    assert local.get(f"/v1/people/{person}").json()["error"]["code"] == "person_not_found"
    assert local.get("/v1/people").json()["total"] == 0


def test_the_same_photo_twice_changes_nothing(local):
    first = enroll(local, "Ada", 0)
    again = enroll(local, "Ada", 0)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["photos"][0]["status"] == "known"
    assert again.json()["person"] == first.json()["person"]
    assert local.get("/v1/info").json()["faces"] == 1


def test_a_face_of_somebody_else_is_a_conflict(local):
    enroll(local, "Ada", 0)
    answer = enroll(local, "Bob", 0)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "person_conflict")
    former = answer.json()["error"]["details"]  # with this, a client corrects the name
    assert former == {"person": 1, "name": "Ada", "face": "e1"}
    assert local.get("/v1/people").json()["total"] == 1
    enroll(local, "Bob", 1)
    answer = local.patch("/v1/people/1", json={"name": "Bob"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "person_conflict")
    assert local.post("/v1/people/1/merge", json={"into": 1}).status_code == 409


@pytest.mark.parametrize(
    ("name", "code"), [("", "request_invalid"), ("unknown", "name_invalid"), (" ", "request_invalid")]
)
def test_a_name_that_is_none_is_refused(local, name, code):
    answer = local.post("/v1/people", files=[photo(0)], data={"name": name})
    assert answer.json()["error"]["code"] == code
    assert local.get("/v1/people").json()["total"] == 0


def test_a_photo_without_a_face_is_refused_and_stops_no_other(local):
    blank = io.BytesIO()
    Image.new("RGB", (200, 200)).save(blank, "PNG")
    bad = ("photo", ("blank.png", blank.getvalue(), "image/png"))
    answer = local.post("/v1/people", files=[bad], data={"name": "Ada"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_face")
    body = shaped(local.post("/v1/people", files=[bad, photo(0)], data={"name": "Ada"}), shapes.EnrolledPerson, 201)
    assert [one["status"] for one in body["photos"]] == ["skipped", "enrolled"]


def test_another_face_of_a_photo(local):
    answer = local.post("/v1/people", files=[photo(0, 1)], data={"name": "Bob", "face": "2"})
    assert answer.status_code == 201
    for number in ("0", "x", "-1", "1.5", "99999"):
        answer = local.post("/v1/people", files=[photo(0)], data={"name": "Cy", "face": number})
        assert answer.status_code == 400
    assert local.post("/v1/people", files=[photo(0)], data={"name": "Cy", "face": "5"}).status_code == 422


def test_faces_of_a_person(local):
    person = enroll(local, "Ada", 0, 3, 4).json()["person"]["id"]
    body = shaped(local.get(f"/v1/people/{person}/faces"), shapes.PersonFaces)
    ids = [face["id"] for face in body["faces"]]
    assert len(ids) == 3
    assert body["least_alike"] in ids
    more = local.post(f"/v1/people/{person}/faces", content=jpeg(5), headers={"Content-Type": "image/jpeg"})
    assert shaped(more, shapes.EnrolledPerson, 201)["person"]["photos"] == 4
    assert shaped(local.delete(f"/v1/people/{person}/faces/{ids[0]}"), shapes.Removed) == {"faces": 1}
    assert ids[0] not in [face["id"] for face in local.get(f"/v1/people/{person}/faces").json()["faces"]]
    other = enroll(local, "Bob", 1).json()["person"]["id"]
    assert local.delete(f"/v1/people/{other}/faces/{ids[1]}").json()["error"]["code"] == "face_not_found"
    assert local.post("/v1/people/999/faces", files=[photo(0)]).status_code == 404


def test_a_face_is_given_to_another_person_with_its_consent(local):
    ada = enroll(local, "Ada", 0, 1).json()
    bob = enroll(local, "Bob", 2).json()["person"]["id"]
    person, face = ada["person"]["id"], ada["photos"][1]["face"]
    local.patch(f"/v1/people/{person}", json={"consent": "by letter", "expires": "2999-12-31"})
    path = f"/v1/people/{person}/faces/{face}"
    given = shaped(local.patch(path, json={"name": "Bob"}), shapes.Corrected)
    assert (given["person"]["id"], given["person"]["photos"], given["face"]) == (bob, 2, face)
    faces = local.get(f"/v1/people/{bob}/faces").json()["faces"]
    assert {one["id"]: one["consent"] for one in faces}[face] == "by letter"
    assert local.patch(path, json={"name": "Bob"}).json()["error"]["code"] == "face_not_found"
    assert local.post("/v1/undo").status_code == 200
    assert len(local.get(f"/v1/people/{person}/faces").json()["faces"]) == 2


def test_a_face_is_not_given_to_somebody_who_has_the_photo(local):
    two = [photo(0, 1, name="two.jpg")]
    ada, _ = (
        local.post("/v1/people", files=two, data={"name": name, "face": str(number)}).json()
        for number, name in enumerate(("Ada", "Bob"), 1)
    )
    path = f"/v1/people/{ada['person']['id']}/faces/{ada['photos'][0]['face']}"
    refused = local.patch(path, json={"name": "Bob"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "person_conflict")


def test_a_correction_of_a_persons_only_face_renames_or_merges_the_person(local):
    ada = enroll(local, "Ada", 0).json()
    path = f"/v1/people/{ada['person']['id']}/faces/{ada['photos'][0]['face']}"
    assert local.patch(path, json={"name": "Cy"}).json()["person"]["name"] == "Cy"
    assert [one["name"] for one in local.get("/v1/people").json()["people"]] == ["Cy"]
    assert local.get("/v1/changes").json()["changes"][0]["kind"] == "renamed"
    bob = enroll(local, "Bob", 1).json()["person"]["id"]
    assert local.patch(path, json={"name": "Bob"}).json()["person"] | {"crop": ""} == {
        **local.get(f"/v1/people/{bob}").json(),
        "crop": "",
    }
    assert local.get("/v1/people").json()["total"] == 1
    for names in (["Bob", "Cy"], ["Ada", "Bob"]):
        assert local.post("/v1/undo").status_code == 200
        assert [one["name"] for one in local.get("/v1/people").json()["people"]] == names


def test_merge(local):
    first, second = (enroll(local, name, seed).json()["person"]["id"] for seed, name in enumerate(("Ada", "A. L.")))
    body = shaped(local.post(f"/v1/people/{second}/merge", json={"into": first}), shapes.Merged)
    assert (body["moved"], body["person"]["name"], body["person"]["photos"]) == (1, "Ada", 2)
    assert local.get(f"/v1/people/{second}").status_code == 404


def test_suspicious_photos_of_a_person(local):
    vectors = unit(2)
    with Gallery(local.guard.service.gallery.folder) as gallery:
        from tests.helpers import record

        gallery.add_faces([record("Ada", near(vectors[0], seed)) for seed in range(4)] + [record("Ada", vectors[1])])
        gallery.add_faces([record("Bob", near(vectors[1], seed)) for seed in range(4)])
    people = {one["name"]: one["id"] for one in local.get("/v1/people").json()["people"]}
    body = shaped(local.get(f"/v1/people/{people['Ada']}/suspicions?rate=0.2"), shapes.Suspicions)
    assert {one["name"] for one in body["suspicions"]} == {"Ada"}
    assert "e5" in [one["face"] for one in body["suspicions"]]


def test_a_list_comes_in_parts_that_miss_nobody(local):
    with Gallery(local.guard.service.gallery.folder) as gallery:
        from tests.helpers import people

        gallery.add_faces(people(unit(25)))
    names, cursor = [], ""
    while cursor is not None:
        body = shaped(local.get(f"/v1/people?limit=10{cursor and '&cursor=' + cursor}"), shapes.People)
        names += [one["name"] for one in body["people"]]
        cursor = body["next"]
        if len(names) == 10:
            assert local.delete(f"/v1/people/{body['people'][0]['id']}").status_code == 200
    assert names == [f"person{number:04d}" for number in range(25)]
    assert local.get("/v1/people?q=PERSON0003").json()["total"] == 1
    for wrong in ("WzFd", "e30", "bnVsbA", "%00", "WyJhIiwgMl0"):
        answer = local.get(f"/v1/people?cursor={wrong}")
        assert answer.status_code in (200, 400)


# Pictures


def picture_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(answer.content))


def test_a_picture_is_cut_from_the_photo_where_it_lies(local, tmp_path):
    source = save_face(tmp_path / "people" / "Ada.png", 0, side=600)
    with Gallery(local.guard.service.gallery.folder) as gallery:
        gallery.enroll("Ada", source)
    assert max(picture_of(local.get("/v1/faces/e1/crop")).size) == 224
    assert picture_of(local.get("/v1/people/1/crop")).size == (224, 224)
    save_face(source, 1)  # another photo at the same path
    assert local.get("/v1/faces/e1/crop").json()["error"]["code"] == "face_not_found"
    source.unlink()
    assert local.get("/v1/faces/e1/crop").status_code == 404


def test_a_pipe_in_place_of_a_photo_is_not_waited_for(local, tmp_path):
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes with names")
    source = save_face(tmp_path / "Ada.png", 0)
    with Gallery(local.guard.service.gallery.folder) as gallery:
        gallery.enroll("Ada", source)
    source.unlink()
    os.mkfifo(source)
    assert local.get("/v1/faces/e1/crop").status_code == 404


def test_a_photo_that_was_sent_leaves_no_picture_unless_asked(local):
    enroll(local, "Ada", 0)
    assert local.get("/v1/faces/e1/crop").json()["error"]["code"] == "face_not_found"


def test_a_kept_picture_goes_with_the_face(tmp_path):
    with client(tmp_path / "g", keep_crops=True) as opened:
        enroll(opened, "Ada", 0)
        enroll(opened, "Bob", 1)
        kept = opened.get("/v1/faces/e1/crop").content
        assert picture_of(opened.get("/v1/faces/e1/crop")).size == (224, 224)
        database = tmp_path / "g" / "gallery.db"
        assert holds(tmp_path / "g", kept)
        assert opened.delete("/v1/people/1").status_code == 200
        assert not holds(tmp_path / "g", kept)
        assert sqlite3.connect(database).execute("SELECT COUNT(*) FROM face_picture").fetchone() == (1,)


def holds(folder, content):
    """Whether a file of the folder holds some of this content."""
    piece = content[len(content) // 2 : len(content) // 2 + 64]
    return any(piece in path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_an_altered_picture_is_not_shown(tmp_path):
    with client(tmp_path / "g", keep_crops=True) as opened:
        enroll(opened, "Ada", 0)
        with sqlite3.connect(tmp_path / "g" / "gallery.db") as database:
            database.execute("UPDATE face_picture SET picture = ?", (jpeg(1),))
        assert opened.get("/v1/faces/e1/crop").json()["error"]["code"] == "gallery_damaged"


# The library


@pytest.fixture
def library(tmp_path):
    """A server of a scanned library: three groups of made-up faces, the first of two photos that exist."""
    folder = tmp_path / "photos"
    for number in range(2):
        save_face(folder / f"{number}.png", 0, 1 + number)
    vectors = unit(3, seed=4)
    files = [seen_file(f"/far/{n}-{i}.jpg", near(vectors[n], i)) for n in range(2) for i in range(4 - n)]
    with client(tmp_path / "g", folders=(folder,)) as opened, Gallery(tmp_path / "g") as gallery:
        with gallery.changing_library() as store:
            store.library.save(files)
        yield opened


def test_groups_are_listed_named_ignored_and_taken_back(library):
    body = shaped(library.post("/v1/groups"), shapes.Groups)
    assert [group["faces"] for group in body["groups"]] == [4, 3]
    first, second = (group["group"] for group in body["groups"])
    named = shaped(library.post(f"/v1/groups/{first}/name", json={"name": "Ada"}), shapes.NamedGroup)
    assert (named["name"], named["faces"]) == ("Ada", 4)
    assert library.get(f"/v1/people/{named['person']}").json()["name"] == "Ada"
    assert [one["group"] for one in library.get("/v1/groups").json()["groups"]] == [second]
    undone = shaped(library.post("/v1/undo"), shapes.Undo)["undone"]
    assert (undone["name"], undone["faces"]) == ("Ada", 4)
    assert shaped(library.post("/v1/undo"), shapes.Undo) == {"undone": None}
    assert library.get("/v1/groups").json()["total"] == 2
    shaped(library.post(f"/v1/groups/{second}/ignore", json={}), shapes.Ignored)
    assert library.get("/v1/groups").json()["total"] == 1
    assert library.get("/v1/groups?ignored=true").json()["total"] == 2
    library.post(f"/v1/groups/{second}/ignore", json={"ignored": False})
    assert library.get("/v1/groups").json()["total"] == 2
    assert library.post("/v1/groups/999/name", json={"name": "x"}).json()["error"]["code"] == "group_not_found"


def test_faces_are_split_off_a_group_by_their_ids(library):
    group = library.post("/v1/groups").json()["groups"][0]["group"]
    body = shaped(library.get(f"/v1/groups/{group}/faces?limit=3"), shapes.GroupFaces)
    assert (body["total"], len(body["faces"])) == (4, 3)
    rest = shaped(library.get(f"/v1/groups/{group}/faces?limit=3&cursor={body['next']}"), shapes.GroupFaces)
    ids = [face["id"] for face in [*body["faces"], *rest["faces"]]]
    assert len(set(ids)) == 4
    made = shaped(library.post(f"/v1/groups/{group}/split", json={"faces": ids[:1]}), shapes.SplitGroup)["group"]
    assert [face["id"] for face in library.get(f"/v1/groups/{made}/faces").json()["faces"]] == ids[:1]
    assert (
        library.post(f"/v1/groups/{group}/split", json={"faces": ["s999"]}).json()["error"]["code"] == "face_not_found"
    )
    assert library.post(f"/v1/groups/{group}/split", json={"faces": ids[1:]}).status_code == 422
    assert library.post(f"/v1/groups/{group}/split", json={"faces": ["/etc/passwd"]}).status_code == 404


def until(reached, seconds=20):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_scan_of_the_named_folders(library):
    assert shaped(library.get("/v1/scan"), shapes.Scan)["state"] == "never"
    shaped(library.post("/v1/scan"), shapes.Scan, 202)
    until(lambda: library.get("/v1/scan").json()["state"] != "running")
    body = shaped(library.get("/v1/scan"), shapes.Scan)
    assert (body["state"], body["photos"], body["done"], body["new"], body["faces"]) == ("done", 2, 2, 2, 4)
    faces = [f for g in library.post("/v1/groups").json()["groups"] for f in g["crops"] if f == "/v1/faces/s8/crop"]
    assert picture_of(library.get(faces[0] if faces else "/v1/faces/s8/crop"))


def test_a_scan_without_folders_is_refused(local):
    answer = local.post("/v1/scan")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "data_unusable")


def test_a_scan_is_stopped_and_one_runs_at_a_time(tmp_path):
    for number in range(3):
        save_blank(tmp_path / "many" / f"{number}.png", number)
    with client(tmp_path / "g", folders=(tmp_path / "many",)) as opened:
        opened.post("/v1/scan")
        assert opened.guard.service.scan.start() is False
        opened.delete("/v1/scan")
        until(lambda: opened.get("/v1/scan").json()["state"] != "running", 60)
        body = opened.get("/v1/scan").json()
        assert (body["state"], body["photos"], body["done"]) == ("stopped", 3, 1)


def test_a_folder_that_is_gone_fails_the_scan_with_its_reason(tmp_path):
    folder = tmp_path / "photos"
    save_blank(folder / "a.png")
    with client(tmp_path / "g", folders=(folder,)) as opened:
        (folder / "a.png").unlink()
        opened.post("/v1/scan")
        until(lambda: opened.get("/v1/scan").json()["state"] != "running")
        body = opened.get("/v1/scan").json()
        assert body["state"] == "failed"
        assert "holds no photos" in body["error"]


# Upkeep


def test_a_backup_is_restored_and_leaves_nothing_behind(local, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    enroll(local, "Ada", 0)
    answer = local.get("/v1/backup")
    assert answer.status_code == 200
    (tmp_path / "b.tar").write_bytes(answer.content)
    assert restore(tmp_path / "b.tar", tmp_path / "again") == (1, 1)
    assert list((tmp_path / "work").iterdir()) == []


def test_too_many_requests_are_told_when_to_come_back(tmp_path):
    with client(tmp_path / "g", limits={"waiting": 0}) as opened:
        lane, release = opened.guard.service.changes, threading.Event()
        opened.guard.service.gallery.rename = lambda *_: release.wait(20)
        enroll(opened, "Ada", 0)
        slow = threading.Thread(target=opened.patch, args=("/v1/people/1",), kwargs={"json": {"name": "B"}})
        slow.start()
        try:
            until(lambda: lane.inside == 1)
            answer = opened.post("/v1/undo")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_busy")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert opened.get("/v1/people").status_code == 200  # reading goes on
        finally:
            release.set()
            slow.join()
        assert opened.post("/v1/undo").status_code == 200


def test_the_description_is_of_openapi_3_1_and_names_every_route(local):
    described = local.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    for route in local.guard.routes:
        if route.include_in_schema:
            for method in route.methods:
                operation = described["paths"][route.path][method.lower()]
                assert operation["summary"] or operation["description"]
                assert "4XX" in operation["responses"]
    validator = pytest.importorskip("openapi_spec_validator", reason="needs openapi-spec-validator")
    validator.validate(described)


def test_scanned_photos_of_the_package_and_of_the_server_agree(tmp_path):
    save_face(tmp_path / "photos" / "a.png", 0)
    with Gallery(tmp_path / "g", "fast", create=True) as gallery:
        list(scan(gallery, list_photos(tmp_path / "photos")))
        groups = cluster(gallery)
    with client(tmp_path / "g") as opened:
        rows = opened.get("/v1/groups").json()["groups"]
        assert [{k: v for k, v in row.items() if k != "crops"} for row in rows] == [
            results.cluster_json(group) for group in groups
        ]
