"""Consents with a last day: how the day is given, that nobody is matched after it, and what `purge` deletes."""

from datetime import date

import pytest

from facedex.errors import DataError, GalleryDamaged, GalleryError, PersonNotFound
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.library.finding import find_photos_of
from facedex.library.groups import cluster
from facedex.store import expiry
from tests.helpers import gallery, near, people, record, save_face, scanned, seen_file, unit
from tests.test_deletion import files_with, traces

ADA, BOB, CY = unit(3, seed=31)


@pytest.fixture
def day(monkeypatch):
    """A function that makes another day today."""

    def change(text):
        monkeypatch.setattr(expiry, "today", lambda: text)

    change("2026-11-30")
    return change


@pytest.fixture
def opened(tmp_path, day):
    """Ada may be matched until the end of the year, Bob for ever, Cy by one of two photos until the end of the year."""
    records = [record("Ada", ADA), record("Bob", BOB), record("Cy", CY), record("Cy", near(CY, 1))]
    with gallery(tmp_path / "g", records) as found:
        found.set_consent("Ada", "form of 2026", "2026-12-31")
        with found.changing_library() as store:
            store.set_consent(store.photos_of("Cy")[0].ids.tolist()[1:], "by mail", "2026-12-31")
        yield found


def names(opened, vector, **options):
    return [candidate.name for candidate in opened.match(vector, top=9, **options)]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("2027-06-30", "2027-06-30"),
        (date(2027, 6, 30), "2027-06-30"),
        ("2026-11-30", "2026-11-30"),
        ("90d", "2027-02-28"),
        ("2w", "2026-12-14"),
        ("3m", "2027-02-28"),
        ("1Y", "2027-11-30"),
        (" never ", ""),
        (None, ""),
    ],
)
def test_a_last_day_is_a_date_or_a_duration(day, text, last):
    assert expiry.last_day(text) == last


def test_a_year_after_a_leap_day_ends_in_february(day):
    day("2028-02-29")
    assert expiry.last_day("1y") == "2029-02-28"


@pytest.mark.parametrize("text", ["", "soon", "2027-13-01", "2027-06-31", "1", "-1d", "99999y", "2026-11-29", "d"])
def test_what_is_no_day_to_come_is_refused(day, text):
    with pytest.raises(DataError, match="give"):
        expiry.last_day(text)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_an_open_gallery_stops_matching_after_the_last_day(opened, day, exhaustive):
    day("2026-12-31")
    assert set(names(opened, ADA, exhaustive=exhaustive)) == {"Ada", "Bob", "Cy"}
    before = opened.match(CY, exhaustive=exhaustive)[0].logit
    revision = opened._store.state.revision
    day("2027-01-01")
    assert set(names(opened, ADA, exhaustive=exhaustive)) == {"Bob", "Cy"}
    best = opened.match(CY, exhaustive=exhaustive)[0]
    assert (best.name, best.logit != before) == ("Cy", True)  # by the one photo that is left
    assert len(opened) == 2
    assert opened._store.state.revision == revision


def test_thresholds_count_those_who_can_be_matched(opened, day):
    with gallery(opened.folder.parent / "two", [record("Bob", BOB), record("Cy", CY)]) as two:
        right = two.threshold(0.01)
    assert opened.threshold(0.01) > right
    day("2027-01-01")
    assert opened.threshold(0.01) == pytest.approx(right)


def test_a_crowd_of_expired_people_hides_nobody(tmp_path, day):
    crowd = [near(ADA, number, noise=0.5) for number in range(300)]
    with gallery(tmp_path / "g", [*people(crowd), record("Ada", near(ADA, 999, noise=0.9))]) as opened:
        for person in opened.people():
            if person.name != "Ada":
                opened._store.set_consent(opened.enrolled_photos(person.name)[0].ids.tolist(), "", "2026-12-31")
        assert "Ada" not in names(opened, ADA)
        day("2027-01-01")
        assert names(opened, ADA) == ["Ada"]


def test_a_gallery_where_everybody_has_expired_names_nobody(opened, day):
    opened.set_consent("Bob", expires="2026-12-31")
    opened.set_consent("Cy", expires="2026-12-31")
    day("2027-01-01")
    assert names(opened, ADA) == names(opened, ADA, exhaustive=True) == []
    assert len(opened) == 0
    assert opened.threshold(0.01) is not None


def test_a_search_engine_matches_nobody_who_has_expired(tmp_path, day):
    from tests.engines import start_server

    server = start_server()
    try:
        with gallery(tmp_path / "g", [record("Ada", ADA), record("Bob", BOB)]) as opened:
            opened.reindex(index=server.url())
            opened.set_consent("Ada", expires="1d")
            assert names(opened, ADA)[0] == "Ada"
            day("2026-12-02")
            assert names(opened, ADA) == ["Bob"]
            assert opened.purge() == (1, 1)
            assert names(opened, ADA) == ["Bob"]
    finally:
        server.close()


def test_an_altered_last_day_is_noticed(opened, day):
    with opened.changing_library() as store:
        store.database.execute("UPDATE face SET expires = '2999-12-31' WHERE id = 1")
    day("2027-01-01")
    with pytest.raises(GalleryDamaged, match="Face 1 "):
        opened.match(ADA)


def test_consent_is_listed_and_shown(opened, day):
    ada, bob, cy = opened.people()
    assert (ada.consents, ada.expires) == (("form of 2026",), "2026-12-31")
    assert (bob.consents, bob.expires) == ((), "")
    assert (cy.consents, cy.expires) == (("by mail",), "")  # one photo has no end
    day("2027-01-01")
    assert [(one.consent, one.expired) for one in opened.show("Cy").photos] == [("", False), ("by mail", True)]


def test_consent_changes_for_all_photos_or_for_some(opened):
    assert opened.set_consent("Cy", expires="2030-01-01") == 2
    assert [(one.consent, one.expires) for one in opened.show("Cy").photos] == [
        ("", "2030-01-01"),
        ("by mail", "2030-01-01"),
    ]
    assert opened.set_consent("Ada", "letter", "never", photos="/photos/Ada.jpg") == 1
    assert (opened.people()[0].consents, opened.people()[0].expires) == (("letter",), "")
    with pytest.raises(DataError, match="elsewhere"):
        opened.set_consent("Ada", "x", photos=["/elsewhere.jpg"])
    with pytest.raises(PersonNotFound):
        opened.set_consent("Eve", "x")


def test_photos_are_enrolled_with_consent(tmp_path, day):
    photo = save_face(tmp_path / "p" / "Ada.png", 1, side=200)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.enroll("Ada", photo, consent="form 7", expires="1y")
        assert (opened.people()[0].consents, opened.people()[0].expires) == (("form 7",), "2027-11-30")
        (again,) = opened.enroll_all([("Ada", photo)], consent="form 8")
        assert (again.status, "facedex consent" in again.reason) == ("known", True)
        with pytest.raises(DataError, match="no day"):
            opened.enroll("Ada", photo, expires="some day")
        assert opened.identify(photo).faces[0].name == "Ada"
        day("2027-12-01")
        assert opened.identify(photo).faces[0].name is None


def test_groups_and_photos_of_whoever_has_expired_are_not_found(tmp_path, day):
    files = [seen_file(f"/photos/{n}.jpg", near(ADA, n)) for n in range(6)]
    files += [seen_file(f"/bob/{n}.jpg", near(BOB, n)) for n in range(3)]
    with scanned(tmp_path / "g", files, [record("Ada", ADA), record("Bob", BOB)]) as opened:
        with opened.changing_library() as store:
            store.name_scanned("Ada", [], [1])
        assert {group.resembles for group in cluster(opened)} == {"Ada", "Bob"}
        opened.set_consent("Ada", expires="1d")
        assert len(find_photos_of(opened, ["Ada"])) == 2
        day("2026-12-02")
        assert {(group.faces, group.resembles) for group in cluster(opened)} == {(5, None), (3, "Bob")}
        with pytest.raises(GalleryError, match="expired on 2026-12-01"):
            find_photos_of(opened, ["Ada"])


def test_purge_leaves_no_trace_and_keeps_photos_that_are_valid(opened, day):
    with opened.changing_library() as store:
        store.library.save([seen_file("/photos/scan.jpg", near(ADA, 5), near(BOB, 5))])
        store.name_scanned("Ada", [], [1])
    opened.reindex()
    assert opened.purge() == (0, 0)
    day("2027-01-01")
    assert opened.expired()[0] == ["Ada"]
    assert [photo.name for photo in opened.expired()[1]] == ["Ada", "Cy"]
    assert opened.purge() == (1, 2)
    assert not traces(opened.folder, opened.head, ADA, near(CY, 1), near(ADA, 5))
    assert not any(files_with(opened.folder, part) for part in (b"Ada", b"form of 2026", b"by mail"))
    assert [(person.name, person.photos) for person in opened.people()] == [("Bob", 1), ("Cy", 1)]
    assert traces(opened.folder, opened.head, CY)
    assert opened.library.faces().ids.tolist() == [2]
    assert [(change.kind, change.name) for change, _ in opened.changes()][-2:] == [("purged", "Cy"), ("purged", None)]


def test_names_of_scanned_faces_expire_with_the_last_photo_that_went(opened, day):
    with opened.changing_library() as store:
        store.library.save([seen_file("/photos/scan.jpg", near(ADA, 5))])
        store.name_scanned("Ada", [], [1])
    opened.remove_photos([photo for photo in opened._store.photos() if photo.name == "Ada"])
    assert (opened.people()[0].photos, opened.people()[0].expires) == (0, "2026-12-31")
    assert opened.show("Ada").photos == ()
    with pytest.raises(GalleryError, match="no enrolled photo"):
        opened.set_consent("Ada", "more")
    day("2027-01-01")
    assert opened.purge() == (1, 1)
    assert len(opened.library.faces()) == 0


def test_photos_enrolled_by_the_name_of_a_group_have_the_consent_of_the_person(opened, day):
    with opened.changing_library() as store:
        store.name_scanned("Ada", [record("Ada", near(ADA, 7))], [])
        store.name_scanned("Cy", [record("Cy", near(CY, 7))], [])
        store.name_scanned("Eve", [record("Eve", near(BOB, 7))], [])
    day("2027-01-01")
    assert [(one.consent, one.expired) for one in opened.show("Ada").photos] == [("form of 2026", True)] * 2
    assert [one.expired for one in opened.show("Cy").photos] == [False, True, False]
    assert [one.expired for one in opened.show("Eve").photos] == [False]
    assert opened.expired()[0] == ["Ada"]


def test_doctor_counts_the_expired(opened, day):
    found = {finding.part: finding for finding in examine(opened.folder)}
    assert found["consents"].state == "sound"
    day("2027-01-01")
    found = {finding.part: finding for finding in examine(opened.folder)}
    assert found["consents"].state == "warning"
    assert found["consents"].detail.startswith("2 photos expired, and all photos of 1 person")
    assert {finding.state for part, finding in found.items() if part != "consents"} == {"sound"}


def test_merged_photos_keep_their_consents(opened, day):
    opened.merge("Ada", "Bob")
    assert opened.match(ADA)[0].name == "Bob"
    day("2027-01-01")
    assert [one.expired for one in opened.show("Bob").photos] == [True, False]
    scores = {one.name: one.logit for one in opened.match(ADA, top=9)}
    alone = {one.name: one.logit for one in opened.match(BOB, top=9)}
    assert scores["Bob"] < alone["Bob"]
