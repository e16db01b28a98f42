"""Photos that may show somebody else, pairs of names that may be one person, and what `show` tells of a person."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from facedex.cli import application
from facedex.errors import PersonNotFound
from facedex.gallery.gallery import Gallery
from facedex.store.nearnames import near_names
from facedex.store.rows import FaceRecord
from tests.helpers import assert_fields_described, gallery, near, save_face, sha, unit

NOISE = 0.9  # photos of one person then score as those of real people do
CLUB = unit(40, seed=7)


def photo(name, vector, number=0, quality=13.0):
    path = f"/photos/{name}/{number}.jpg"
    return FaceRecord(name, vector.astype(np.float32), (10.0, 20.0, 60.0, 80.0), 0.9, quality, path, sha(path))


def photos(name, person, count):
    return [photo(name, near(CLUB[person], seed=100 * person + n, noise=NOISE), n) for n in range(count)]


@pytest.fixture
def club(tmp_path):
    """Twenty people with one to six photos, all right."""
    records = [one for person in range(20) for one in photos(f"P{person:02d}", person, 1 + person % 6)]
    with gallery(tmp_path / "g", records) as opened:
        yield opened


def told(opened, *names, **options):
    return [(one.kind, one.name, one.other) for one in opened.suspicions(*names, **options)]


def run(*arguments):
    return CliRunner().invoke(application(), [str(one) for one in arguments])


def test_nothing_is_suspicious_where_all_photos_are_right(club):
    assert told(club) == []


@pytest.mark.parametrize("person", ["P02", "P04", "P05"])
def test_a_photo_of_a_stranger_is_found_among_the_persons_photos(club, person):
    club.add_faces([photo(person, CLUB[30], 99)])
    (found,) = club.suspicions()
    assert (found.kind, found.name, found.photo, found.other) == ("unlike", person, f"/photos/{person}/99.jpg", None)
    assert found.false_warnings < 0.01
    assert found.similarity < 0.5
    assert f"photos of {person}" in found.reason
    assert "somebody else" in found.reason


def test_a_photo_of_somebody_enrolled_is_told_with_that_persons_name(club):
    club.add_faces([photo("P04", near(CLUB[3], seed=5, noise=NOISE), 99)])
    (found,) = club.suspicions()
    assert (found.kind, found.name, found.other) == ("unlike", "P04", "P03")
    assert found.other_similarity > 0.9
    assert "it may show P03" in found.reason


def test_several_wrong_photos_of_one_person_are_all_found(club):
    club.add_faces([photo("P05", CLUB[30], 98), photo("P05", CLUB[31], 99)])
    assert {one.photo for one in club.suspicions()} == {"/photos/P05/98.jpg", "/photos/P05/99.jpg"}


def test_two_photos_that_do_not_resemble_each_other_are_told(club):
    club.add_faces([photo("P00", CLUB[30], 99)])
    (found,) = club.suspicions()
    assert (found.kind, found.name, found.photos) == ("unlike", "P00", 2)
    assert "does not resemble the other photo of P00" in found.reason


@pytest.mark.parametrize(("count", "person"), [(1, 0), (1, 4), (3, 2), (4, 12)])
def test_one_person_under_two_names_is_told_once(club, count, person):
    club.add_faces(photo("Twice", near(CLUB[person], seed=5000 + n, noise=NOISE), n) for n in range(count))
    for names in ((), ("Twice",), (f"P{person:02d}",)):
        (found,) = club.suspicions(*names)
        assert found.kind == "same"
        assert {found.name, found.other} == {f"P{person:02d}", "Twice"}


def test_one_wrong_photo_does_not_make_two_people_one(club):
    """The photo is told, and the two names stay apart."""
    club.add_faces([photo("P05", near(CLUB[0], seed=77, noise=NOISE), 99)])
    kinds = told(club)
    assert ("unlike", "P05", "P00") in kinds
    assert not any(kind == "same" for kind, _, _ in kinds)


def test_the_most_suspicious_comes_first_and_a_lower_rate_tells_less(club):
    club.add_faces([photo("P05", CLUB[30], 99)])
    club.add_faces([photo("P04", near(CLUB[4], seed=1, noise=2.4), 98)])
    every = club.suspicions(rate=0.5)
    assert [one.false_warnings for one in every] == sorted(one.false_warnings for one in every)
    assert every[0].photo == "/photos/P05/99.jpg"
    assert len(club.suspicions(rate=1e-6)) < len(every)


def test_only_the_people_asked_for_are_told(club):
    club.add_faces([photo("P05", CLUB[30], 99), photo("P04", CLUB[31], 99)])
    assert told(club, "P05") == [("unlike", "P05", None)]
    assert told(club, "P03") == []
    with pytest.raises(PersonNotFound):
        club.suspicions("Nobody")


def test_right_people_are_rarely_told(tmp_path):
    """Of 300 people with four photos each, at most three in a hundred are warned of at a rate of one in a hundred."""
    people = unit(300, seed=70)
    records = [
        photo(f"P{person:03d}", near(vector, seed=10 * person + n, noise=1.2), n)
        for person, vector in enumerate(people)
        for n in range(4)
    ]
    with gallery(tmp_path / "g", records) as opened:
        assert len(opened.suspicions()) <= 9


def test_a_person_with_very_many_photos_is_compared_with_some_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("facedex.gallery.suspicion._COMPARED", 8)
    records = [*photos("Many", 0, 40), photo("Many", CLUB[30], 99), *photos("Other", 1, 3)]
    with gallery(tmp_path / "g", records) as opened:
        assert [one.photo for one in opened.suspicions()] == ["/photos/Many/99.jpg"]


def test_doctor_lists_suspicious_photos(club):
    club.add_faces([photo("P05", CLUB[30], 99)])
    folder = club.folder
    done = run("doctor", "--people", "-g", folder)
    assert done.exit_code == 1
    assert "/photos/P05/99.jpg: does not resemble the other 6 photos of P05" in done.stdout
    assert "1 % of people" in done.stderr
    rows = [json.loads(line) for line in run("doctor", "--people", "--json", "-g", folder).stdout.splitlines()]
    assert_fields_described([row for row in rows if row["part"] == "people"], "doctor", kind=1)
    assert rows[-1]["photo"] == "/photos/P05/99.jpg"
    assert rows[-1]["kind"] == "unlike"
    assert "people" not in run("doctor", "-g", folder).stdout.split()


def test_doctor_says_when_nobody_is_suspicious(club):
    run("doctor", "-g", club.folder)  # what there is to repair
    done = run("doctor", "--people", "-g", club.folder)
    assert done.exit_code == 0
    assert "nothing stands out among the photos of 20 people" in done.stdout
    last = json.loads(run("doctor", "--people", "--json", "-g", club.folder).stdout.splitlines()[-1])
    assert last["part"] == "people"
    assert last["state"] == "sound"


def test_doctor_refuses_a_rate_that_is_none(club):
    assert run("doctor", "--people", "--false-warnings", "0", "-g", club.folder).exit_code == 2


def test_enrolling_tells_of_one_face_under_two_names_and_goes_on(tmp_path):
    """Drawn faces: the same drawing in another size is enrolled under a second name."""
    for name, seed, side in (("Ada", 0, 240), ("Bob", 1, 240)):
        save_face(tmp_path / "db" / f"{name}.png", seed, side=side)
    first = run("enroll", tmp_path / "db", "-g", tmp_path / "g", "--model", "fast")
    assert first.exit_code == 0, first.output
    save_face(tmp_path / "more" / "Augusta.png", 0, side=300)
    done = run("enroll", tmp_path / "more", "-g", tmp_path / "g", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert next((row["name"], row["status"]) for row in rows) == ("Augusta", "enrolled")
    suspicious = [row for row in rows if row["status"] == "suspicious"]
    assert suspicious
    assert "Ada" in suspicious[0]["reason"]
    assert done.exit_code == 0
    assert "suspicious: " in done.stderr
    again = run("enroll", tmp_path / "more", "-g", tmp_path / "g", "--json")
    assert [json.loads(line)["status"] for line in again.stdout.splitlines()] == ["known"]


# show and near names


def test_show_tells_every_photo_and_the_one_that_resembles_the_others_least(club):
    club.add_faces([photo("P05", CLUB[30], 99, quality=4.0)])
    person = club.show("P05")
    assert person.name == "P05"
    assert len(person.photos) == 7
    assert person.least_alike.photo == "/photos/P05/99.jpg"
    assert person.least_alike.unclear
    assert all(one.similarity > 0.9 for one in person.photos[:-1])
    done = run("show", "P05", "-g", club.folder)
    assert done.exit_code == 0
    assert "least: " in done.stdout
    assert "/photos/P05/99.jpg" in done.stdout
    shown = [json.loads(run("show", "P05", "--json", "-g", club.folder).stdout)]
    assert_fields_described(shown, "show")
    assert shown[0]["least_alike"] == "/photos/P05/99.jpg"
    assert len(shown[0]["photos"]) == 7


def test_show_of_one_photo_compares_nothing(club):
    person = club.show("P00")
    assert person.least_alike is None
    assert person.photos[0].similarity is None
    assert person.enrolled == person.photos[0].enrolled
    assert json.loads(run("show", "P00", "--json", "-g", club.folder).stdout)["least_alike"] is None


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("hillary clinton", "Hillary Clinton"),
        ("Hilary Clinton", "Hillary Clinton"),
        ("Hillary_Clinton", "Hillary Clinton"),
        ("clinton", "Hillary Clinton"),
        ("renee zellweger", "Renée Zellweger"),
        ("bjork", "Björk"),
    ],
)
def test_a_near_name_is_named(tmp_path, asked, near):
    names = ("Hillary Clinton", "Renée Zellweger", "Björk", "Ada")
    with gallery(tmp_path / "g", [photo(name, CLUB[n]) for n, name in enumerate(names)]) as opened:
        for call in (opened.show, opened.remove, lambda name: opened.rename(name, "New")):
            with pytest.raises(PersonNotFound, match=f"did you mean '{near}'"):
                call(asked)
        assert len(opened) == 4
    done = run("show", asked, "-g", tmp_path / "g")
    assert isinstance(done.exception, PersonNotFound)


def test_a_name_that_is_near_nobody_leads_to_the_list(tmp_path):
    with (
        gallery(tmp_path / "g", [photo("Ada", CLUB[0])]) as opened,
        pytest.raises(PersonNotFound, match="facedex list"),
    ):
        opened.show("Xquzk")


def test_no_more_than_three_near_names_and_a_million_names_take_no_letters():
    names = [f"Ada {n}" for n in range(30_000)]
    assert near_names("ADA 7", names)[0] == "Ada 7"
    assert len(near_names("ada", names)) == 3
    assert near_names("Adq 7", names) == []  # too many names to compare letter by letter
    assert near_names("", ["Ada"]) == []
    assert near_names("?!", ["Ada"]) == []


def test_a_gallery_of_one_person_and_an_empty_one(tmp_path):
    with Gallery(tmp_path / "g", "fast", create=True) as empty:
        assert empty.suspicions() == []
        empty.add_faces(photos("Ada", 0, 3))
        assert empty.suspicions() == []
