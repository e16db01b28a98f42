"""The log and undo, joined groups, what is no face, questions and consents, over the API."""

import pytest

import tests.test_review as made_up
from facedex.library.groups import cluster
from facedex.server import shapes
from tests.servers import READ, client, photo
from tests.test_review import ADA, CY, ODD
from tests.test_routes import shaped


@pytest.fixture
def local(tmp_path):
    with client(tmp_path / "g") as opened:
        yield opened


@pytest.fixture
def library(local):
    """A server of eight scanned photos of Ada, four of somebody who may be Ada, and three of Cy."""
    files = [(ADA, 8, "ada"), (ODD, 4, "odd"), (CY, 3, "cy")]
    gallery = local.guard.service.gallery
    with gallery.changing_library() as store:
        store.library.save([one for file in files for one in made_up.photos(*file)] + made_up.strangers())
    cluster(gallery)
    return local


def sizes(opened):
    groups = opened.get("/v1/groups").json()["groups"]
    return {one["group"]: one["faces"] for one in groups if one["faces"] > 1}


def enroll(opened, name, *seeds, **fields):
    files = [photo(seed, name=f"{seed}.jpg") for seed in seeds]
    return opened.post("/v1/people", files=files, data={"name": name, **fields}).json()["person"]["id"]


def test_a_rename_and_a_merge_are_undone_one_by_one(local):
    ada, bob = enroll(local, "Ada", 0), enroll(local, "Bob", 1)
    assert shaped(local.get("/v1/undo"), shapes.LastChange)["change"] is None  # an enrolment ends by a deletion
    local.patch(f"/v1/people/{ada}", json={"name": "Ada Lovelace"})
    local.post(f"/v1/people/{bob}/merge", json={"into": ada})
    last = shaped(local.get("/v1/undo"), shapes.LastChange)["change"]
    assert (last["kind"], last["name"]) == ("merged", "Ada Lovelace")
    undone = shaped(local.post("/v1/undo", json={"change": last["number"]}), shapes.Undo)["undone"]
    assert undone == {"kind": "merged", "name": "Ada Lovelace", "faces": 0, "photos": 1}
    assert [one["name"] for one in local.get("/v1/people").json()["people"]] == ["Ada Lovelace", "Bob"]
    assert shaped(local.post("/v1/undo"), shapes.Undo)["undone"]["kind"] == "renamed"
    assert local.get(f"/v1/people/{ada}").json()["name"] == "Ada"
    assert local.post("/v1/undo").json() == {"undone": None}


def test_undo_of_a_change_that_is_not_the_last_changes_nothing(local):
    ada = enroll(local, "Ada", 0)
    local.patch(f"/v1/people/{ada}", json={"name": "Eva"})
    meant = local.get("/v1/undo").json()["change"]["number"]
    local.patch(f"/v1/people/{ada}", json={"name": "Ida"})
    answer = local.post("/v1/undo", json={"change": meant})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "undo_conflict")
    assert local.get(f"/v1/people/{ada}").json()["name"] == "Ida"
    assert local.post("/v1/undo", json={"change": 0}).status_code == 400


def test_the_log_lists_changes_in_parts_the_last_one_first(local):
    ada = enroll(local, "Ada", 0)
    for name in ("B", "C", "D"):
        local.patch(f"/v1/people/{ada}", json={"name": name})
    first = shaped(local.get("/v1/changes?limit=3"), shapes.LoggedChanges)
    rest = shaped(local.get(f"/v1/changes?limit=3&cursor={first['next']}"), shapes.LoggedChanges)
    assert first["total"] == 4
    assert [one["name"] for one in first["changes"] + rest["changes"]] == ["D", "C", "B", "Ada"]
    assert [one["undoable"] for one in first["changes"] + rest["changes"]] == [True, True, True, False]
    local.delete(f"/v1/people/{ada}")
    assert {one["name"] for one in local.get("/v1/changes").json()["changes"]} == {None}


def test_groups_are_joined_and_faces_are_marked_as_none(library):
    joined = shaped(library.post("/v1/groups/2/merge", json={"into": 1}), shapes.JoinedGroup)
    assert joined == {"group": 1, "faces": 12}
    assert sizes(library) == {1: 12, 3: 3}
    face = library.get("/v1/groups/1/faces?limit=1").json()["faces"][0]["id"]
    assert shaped(library.post("/v1/groups/1/not-a-face", json={"faces": [face]}), shapes.NoFaces) == {"faces": 1}
    assert face not in {one["id"] for one in library.get("/v1/groups/1/faces").json()["faces"]}
    assert library.post("/v1/groups/3/not-a-face", json={}).json() == {"faces": 3}
    assert sizes(library) == {1: 11}
    for expected in ({1: 11, 3: 3}, {1: 12, 3: 3}, {1: 8, 2: 4, 3: 3}):
        library.post("/v1/undo")
        assert sizes(library) == expected
    assert library.post("/v1/groups/1/merge", json={"into": 1}).json()["error"]["code"] == "data_unusable"
    assert library.post("/v1/groups/1/merge", json={"into": 999}).json()["error"]["code"] == "group_not_found"
    assert library.post("/v1/groups/1/not-a-face", json={"faces": ["s9999"]}).status_code == 404


def test_a_question_is_answered_once_and_comes_back_when_the_answer_is_undone(library):
    (question,) = shaped(library.get("/v1/questions"), shapes.Questions)["questions"]
    assert (question["group"], question["other_group"], question["faces"]) == (1, 2, 4)
    assert question["one"]["photo"].startswith("/ada/")
    answer = shaped(library.post(f"/v1/questions/{question['id']}", json={"same": True}), shapes.Answered)
    assert answer["change"] == library.get("/v1/undo").json()["change"]["number"]
    assert sizes(library) == {1: 12, 3: 3}
    assert library.get("/v1/questions").json() == {"questions": [], "total": 0}
    again = library.post(f"/v1/questions/{question['id']}", json={"same": False})
    assert (again.status_code, again.json()["error"]["code"]) == (422, "data_unusable")
    library.post("/v1/undo", json={"change": answer["change"]})
    assert [one["id"] for one in library.get("/v1/questions").json()["questions"]] == [question["id"]]


def test_a_question_that_another_change_made_pointless_is_not_asked(library):
    (question,) = library.get("/v1/questions").json()["questions"]
    library.post("/v1/groups/2/name", json={"name": "Bob"})
    assert question["id"] not in {one["id"] for one in library.get("/v1/questions").json()["questions"]}
    assert library.post(f"/v1/questions/{question['id']}", json={"same": True}).status_code == 422


def test_a_skipped_question_waits_and_nothing_changes(library):
    (question,) = library.get("/v1/questions").json()["questions"]
    skipped = shaped(library.post(f"/v1/questions/{question['id']}", json={"same": None}), shapes.Answered)
    assert skipped == {"change": None}
    assert library.get("/v1/questions").json()["questions"] == []
    assert sizes(library) == {1: 8, 2: 4, 3: 3}
    assert library.get("/v1/undo").json()["change"] is None


def test_a_question_about_a_person_shows_the_enrolled_face(library):
    library.post("/v1/groups/1/name", json={"name": "Ada"})
    (question,) = shaped(library.get("/v1/questions"), shapes.Questions)["questions"]
    assert (question["person"], question["group"], question["other_group"]) == ("Ada", 2, 0)
    person = library.get("/v1/people").json()["people"][0]["id"]
    enrolled = {one["id"] for one in library.get(f"/v1/people/{person}/faces").json()["faces"]}
    assert question["other"]["face"] in enrolled or question["other"]["face"].startswith("s")
    library.post(f"/v1/questions/{question['id']}", json={"same": True})
    assert sizes(library) == {3: 3}


def test_a_consent_is_given_changed_and_undone(local):
    ada = enroll(local, "Ada", 0, consent="by letter", expires="2999-01-31")
    person = shaped(local.get(f"/v1/people/{ada}"), shapes.Person)
    assert (person["consents"], person["expires"], person["expired"]) == (["by letter"], "2999-01-31", False)
    changed = shaped(local.patch(f"/v1/people/{ada}", json={"consent": "by word"}), shapes.Person)
    assert (changed["consents"], changed["expires"]) == (["by word"], "2999-01-31")
    assert local.patch(f"/v1/people/{ada}", json={"expires": "never"}).json()["expires"] is None
    local.post("/v1/undo")
    local.post("/v1/undo")
    assert local.get(f"/v1/people/{ada}").json() == person
    (face,) = shaped(local.get(f"/v1/people/{ada}/faces"), shapes.PersonFaces)["faces"]
    assert (face["consent"], face["expires"]) == ("by letter", "2999-01-31")


@pytest.mark.parametrize("wrong", [{"expires": "soon"}, {"expires": "2001-01-01"}, {"name": ""}, {"age": 3}])
def test_a_wrong_consent_is_refused_and_changes_nothing(local, wrong):
    ada = enroll(local, "Ada", 0)
    before = local.get(f"/v1/people/{ada}").json()
    assert local.patch(f"/v1/people/{ada}", json=wrong).status_code in (400, 422)
    assert local.get(f"/v1/people/{ada}").json() == before
    refused = local.post("/v1/people", data={"name": "Bob", "expires": "soon"}, files=[photo(1)])
    assert refused.status_code == 422
    assert local.get("/v1/people").json()["total"] == 1


def test_a_reading_token_sees_the_log_and_answers_no_question(tmp_path):
    full = "full-token-of-a-test"
    with client(tmp_path / "g", {"Authorization": f"Bearer {READ}"}, token=full, read_token=READ) as opened:
        assert opened.get("/v1/changes").status_code == 200
        assert opened.get("/v1/questions").status_code == 200
        for path, body in (("undo", None), ("questions/1-2-1-2", {"same": True}), ("groups/1/merge", {"into": 2})):
            assert opened.post(f"/v1/{path}", json=body).status_code == 401
