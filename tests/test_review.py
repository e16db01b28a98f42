"""Questions about groups and names: which are asked, in which order, and what each answer does for good."""

import dataclasses

import numpy as np
import pytest

from facedex.errors import DataError
from facedex.library.group_edits import join_groups, mark_not_faces
from facedex.library.group_names import ignore_group, name_group
from facedex.library.groups import cluster
from facedex.library.review import Review, answer_question
from facedex.store.face_links import APART, NOT_PERSON, SAME
from tests.helpers import near, record, scanned, seen_file, unit

PEOPLE = np.linalg.qr(unit(40, seed=31).T)[0].T.astype(np.float32)  # as unlike each other as can be
ADA, BOB, CY = PEOPLE[:3]
STRANGERS = PEOPLE[9:]


def between(one, other, share):
    """A unit vector on the way from one to another."""
    mixed = (1 - share) * one + share * other
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


HARDLY = 0.702  # of the way to somebody else a group is just below the cut
ODD = between(ADA, BOB, HARDLY)


def photos(who, count, prefix, noise=0.2, quality=20.0):
    return [seen_file(f"/{prefix}/{n}.jpg", near(who, n, noise), quality=quality + n) for n in range(count)]


def strangers():
    return [seen_file(f"/strangers/{n}.jpg", vector) for n, vector in enumerate(STRANGERS)]


@pytest.fixture
def files():
    """Eight photos of Ada, four of somebody who may be Ada, three of Cy, and one of each of many strangers."""
    return [*photos(ADA, 8, "ada"), *photos(ODD, 4, "odd"), *photos(CY, 3, "cy"), *strangers()]


@pytest.fixture
def opened(tmp_path, files):
    with scanned(tmp_path / "g", files) as found:
        assert sizes(cluster(found)) == {1: 8, 2: 4, 3: 3}
        yield found


def sizes(groups):
    """The groups of several faces."""
    return {group.number: group.faces for group in groups if group.faces > 1}


def state(opened):
    """Everything that an answer may change."""
    faces, links = opened.library.faces(everything=True), opened.library.links
    tables = {table: sorted(links.rows(table)) for table in (SAME, APART, NOT_PERSON, "not_face")}
    return faces.groups.tolist(), faces.people.tolist(), tables, opened.faces, opened.library.groups()


def asked(opened):
    return [(one.group, one.other_group, one.person) for one in Review(opened).questions()]


def test_two_groups_that_may_be_one_person_are_asked_about(opened):
    (question,) = Review(opened).questions()
    assert (question.group, question.other_group, question.person) == (1, 2, None)
    assert question.faces == 4
    assert 0.01 < question.probability < 0.99
    assert question.one.path.startswith("/ada/")
    assert question.other.path.startswith("/odd/")


def test_yes_joins_the_groups_and_no_later_run_parts_them(opened):
    review = Review(opened)
    review.answer(review.question(), True)
    assert review.question() is None
    assert sizes(cluster(opened)) == {1: 12, 3: 3}
    with opened.changing_library() as store:
        store.library.save(photos(ODD, 6, "late"))
    groups = sizes(cluster(opened))
    assert groups == {1: 18, 3: 3}
    assert asked(opened) == []


def test_no_keeps_the_groups_apart_and_is_not_asked_again(opened):
    review = Review(opened)
    review.answer(review.question(), False)
    assert review.question() is None
    with opened.changing_library() as store:
        store.library.save([*photos(ODD, 9, "late"), *photos(between(ADA, BOB, 0.3), 9, "nearer")])
    cluster(opened)
    faces = opened.library.faces()
    assert not set(faces.groups[:8].tolist()) & set(faces.groups[8:12].tolist())
    assert not [one for one in Review(opened).questions() if {one.group, one.other_group} == {1, 2}]


def test_answers_outlast_another_model(opened, tmp_path):
    """Scanned faces keep their ids when their photos are encoded anew, and links are kept by ids."""
    review = Review(opened)
    review.answer(review.question(), False)
    before = opened.library.links.rows(APART)
    faces = opened.library.faces()
    scrambled = {int(face): (near(ADA, int(face), 0.1), 20.0) for face in faces.ids}  # a model that sees one person
    with opened.changing_library(enrolls=True) as store:
        store.replace_vectors("other", opened._store.state.model_file, 128, {}, scrambled)
    assert opened.library.links.rows(APART) == before
    cluster(opened)
    faces = opened.library.faces()
    assert not set(faces.groups[:8].tolist()) & set(faces.groups[8:12].tolist())
    assert (1, 2, None) not in asked(opened)


def test_a_group_that_may_be_a_named_person_is_asked_about_and_named_by_a_yes(opened):
    name_group(opened, 1, "Ada")
    (question,) = Review(opened).questions()
    assert (question.group, question.person, question.faces) == (2, "Ada", 4)
    enrolled = opened.faces
    answer_question(opened, question, True)
    assert len(opened.library.faces_named("Ada")) == 12
    assert opened.faces == enrolled + 4
    assert asked(opened) == []


def test_no_to_a_person_is_kept_for_that_person(opened):
    name_group(opened, 1, "Ada")
    review = Review(opened)
    review.answer(review.question(), False)
    assert opened.library.counts().named == 8
    with opened.changing_library() as store:
        store.library.save(photos(between(ADA, BOB, 0.3), 12, "bridge"))
    groups = {group.number: group for group in cluster(opened)}
    assert groups[2].resembles is None
    assert not [one for one in Review(opened).questions() if (one.group, one.person) == (2, "Ada")]
    opened.add_faces([record("Ada Lovelace", near(ADA, 99))])
    opened.merge("Ada", "Ada Lovelace")
    assert not [one for one in Review(opened).questions() if (one.group, one.person) == (2, "Ada Lovelace")]
    opened.undo()
    assert {person for _, person in opened.library.links.rows(NOT_PERSON)} == set(opened.library.people()) - {
        number for number, name in opened.library.people().items() if name == "Ada Lovelace"
    }


def test_a_person_who_is_only_enrolled_is_asked_about(tmp_path):
    enrolled = [record("Ada", near(ADA, n), None) for n in range(50, 53)]
    with scanned(tmp_path / "g", [*photos(ODD, 4, "odd"), *strangers()], enrolled) as opened:
        cluster(opened)
        (question,) = Review(opened).questions()
        assert (question.person, question.other.face, question.other.path) == ("Ada", 0, "/photos/Ada.jpg")


@pytest.fixture
def weak(tmp_path):
    """Ada has a name for eleven faces. One of them is hardly like the others, and not enrolled."""
    with scanned(
        tmp_path / "g", [*photos(ADA, 10, "ada"), seen_file("/odd.jpg", near(ODD, 3, 0.1), quality=9), *strangers()]
    ) as found:
        cluster(found)
        with found.changing_library(enrolls=True) as store:
            store.name_scanned("Ada", [], list(range(1, 12)))
        yield found


def test_a_named_face_that_hardly_fits_is_asked_about(weak):
    (question,) = Review(weak).questions()
    assert (question.one.path, question.person, question.group, question.faces) == ("/odd.jpg", "Ada", 0, 1)
    before = state(weak)
    change = answer_question(weak, question, False)
    assert len(weak.library.faces_named("Ada")) == 10
    assert ("/odd.jpg",) in [group.examples for group in cluster(weak)]
    assert not [one for one in Review(weak).questions() if one.person == "Ada"]
    weak.undo(change)
    assert state(weak) == before


def test_a_confirmed_face_keeps_its_name_and_is_not_asked_about_again(weak):
    review = Review(weak)
    review.answer(review.question(), True)
    assert review.question() is None
    assert len(weak.library.faces_named("Ada")) == 11
    assert asked(weak) == []


def test_the_most_useful_question_comes_first(tmp_path):
    pairs = PEOPLE[[0, 1, 4, 5, 6, 7]]
    files = []
    for at, count in enumerate((2, 9, 5)):
        one, other = pairs[2 * at : 2 * at + 2]
        files += photos(one, 9, f"a{at}") + photos(between(one, other, HARDLY), count, f"b{at}")
    with scanned(tmp_path / "g", [*files, *strangers()]) as opened:
        assert sorted(sizes(cluster(opened)).values()) == [2, 5, 9, 9, 9, 9]
        found = list(Review(opened).questions())
        assert [one.faces for one in found] == [9, 5, 2]
        assert [one.worth for one in found] == sorted((one.worth for one in found), reverse=True)


@pytest.mark.parametrize("same", [True, False])
def test_undo_is_exact_and_asks_again(opened, same):
    before, review = state(opened), Review(opened)
    question = review.question()
    review.answer(question, same)
    assert state(opened) != before
    assert review.undo() == question
    assert state(opened) == before
    assert review.question().group == question.group
    assert review.undo() is None


def test_undo_of_a_skip_brings_its_question_back(opened):
    review = Review(opened)
    question = review.question()
    review.answer(question, None)
    assert review.question() is None
    assert Review(opened).question() is not None  # another time it is asked again
    assert review.undo() == question
    assert review.question() == question


def test_what_is_certain_or_settled_is_not_asked_about(opened, tmp_path):
    ignore_group(opened, 2)
    assert asked(opened) == []
    opened.undo()
    assert mark_not_faces(opened, 2) == 4
    assert asked(opened) == []
    with scanned(
        tmp_path / "twins", [seen_file(f"/{n}.jpg", near(ADA, n), near(ODD, n)) for n in range(4)] + strangers()
    ) as twins:
        cluster(twins)
        assert asked(twins) == []  # two faces of one photo are two people's


def test_an_answer_that_comes_too_late_changes_nothing(opened):
    (question,) = Review(opened).questions()
    join_groups(opened, 1, 2)
    before = state(opened)
    for same in (True, False):
        with pytest.raises(DataError, match="next question"):
            answer_question(opened, question, same)
    other = dataclasses.replace(question, group=3, other_group=1)
    with pytest.raises(DataError, match="next question"):
        answer_question(opened, other, True)
    assert state(opened) == before


def test_a_review_goes_on_where_others_changed_the_groups(opened):
    review = Review(opened)
    question = review.question()
    name_group(opened, 1, "Ada")
    with pytest.raises(DataError, match="next question"):
        review.answer(question, True)
    again = review.question()
    assert (again.group, again.other_group, again.person) == (2, 0, "Ada")
    review.answer(again, True)
    assert review.question() is None
    assert len(opened.library.faces_named("Ada")) == 12


def test_a_review_goes_on_where_one_face_went_and_another_came(opened):
    review = Review(opened)
    assert review.questions()
    with opened.changing_library() as store:
        store.library.drop_files(["/cy/0.jpg"])
        store.library.save([seen_file("/cy/new.jpg", near(CY, 9, 0.2))])
    assert [(question.group, question.other_group) for question in review.questions()] == [(1, 2)]


def test_an_empty_library_has_no_questions(tmp_path):
    with scanned(tmp_path / "g", []) as opened:
        assert Review(opened).question() is None
        with pytest.raises(ValueError, match="rate"):
            Review(opened, rate=0)
