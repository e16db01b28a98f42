"""What users of other photo programs report of their groups of faces: none of it may happen here."""

from __future__ import annotations

import numpy as np
import pytest

from facedex.library.forgetting import forget
from facedex.library.group_names import ignore_group, name_group, split_group
from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan
from tests.helpers import near, other_encoder, record, save_face, scanned, seen_file, unit

PEOPLE = unit(6, seed=31)


def photos_of(person, count, first=0, quality=20.0):
    """Photos of one person (a row of PEOPLE)."""
    return [
        seen_file(f"/{person}/{number:03d}.jpg", near(PEOPLE[person], 1000 * person + number), quality=quality)
        for number in range(first, first + count)
    ]


def add(opened, *files):
    with opened.changing_library() as store:
        store.library.save(files)


def names(opened):
    """How many faces have each name."""
    given = opened.library.faces().names
    return {name: given.count(name) for name in given}


def groups_of(opened):
    """The faces (rows) of each group, as a set of sets, without the numbers."""
    groups = opened.library.faces().groups
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


def number_of(opened, source):
    """The number of the group that the face of a photo is in."""
    photo = opened.library.files()[source].photo
    faces = opened.library.membership()
    return int(faces.groups[faces.photos == photo][0])


@pytest.fixture
def opened(tmp_path):
    """Five photos of the first person, four of the second, three of the third, two of the fourth."""
    files = [photo for person, count in enumerate((5, 4, 3, 2)) for photo in photos_of(person, count)]
    with scanned(tmp_path / "g", files) as found:
        assert [group.faces for group in cluster(found)] == [5, 4, 3, 2]
        yield found


def test_two_groups_under_one_name_take_no_third_group_along(opened):
    name_group(opened, 1, "Ada")
    name_group(opened, 2, "Ada")
    assert names(opened) == {"Ada": 9, None: 5}
    assert [(group.number, group.faces) for group in cluster(opened)] == [(3, 3), (4, 2)]


def test_two_people_who_become_one_take_no_third_along(opened):
    for number, name in ((1, "Ada"), (2, "A. Lovelace"), (3, "Bob")):
        name_group(opened, number, name)
    opened.merge("A. Lovelace", "Ada")
    assert names(opened) == {"Ada": 9, "Bob": 3, None: 2}
    assert [group.number for group in cluster(opened)] == [4]
    assert {person.name for person in opened.people()} == {"Ada", "Bob"}


def test_groups_that_became_one_by_a_name_come_apart_again(opened):
    name_group(opened, 1, "Ada")
    before = names(opened), groups_of(opened), opened.people()
    name_group(opened, 2, "Ada")
    opened.undo()
    assert (names(opened), groups_of(opened), opened.people()) == before
    assert [(group.number, group.faces) for group in cluster(opened)] == [(2, 4), (3, 3), (4, 2)]


def test_people_who_became_one_come_apart_again(opened):
    for number, name in ((1, "Ada"), (2, "A. Lovelace"), (3, "Bob")):
        name_group(opened, number, name)
    before = names(opened), groups_of(opened), [(person.name, person.photos) for person in opened.people()]
    opened.merge("A. Lovelace", "Ada")
    opened.undo()
    assert (names(opened), groups_of(opened), [(one.name, one.photos) for one in opened.people()]) == before


def test_another_name_for_one_face_leaves_its_group_alone(opened):
    apart = split_group(opened, 1, ["/0/002.jpg"])
    name_group(opened, apart, "Bea")
    assert names(opened) == {"Bea": 1, None: 13}
    name_group(opened, 1, "Ada")
    cluster(opened)
    assert names(opened) == {"Bea": 1, "Ada": 4, None: 9}


def test_one_face_of_a_named_person_gets_another_name(opened):
    add(opened, *photos_of(0, 10, first=10), *photos_of(0, 1, first=99, quality=15.0))
    cluster(opened)
    name_group(opened, 1, "Ada")
    enrolled = {photo.source for photo in opened.enrolled_photos("Ada")[1]}
    assert "/0/099.jpg" not in enrolled  # the least clear of sixteen
    forget(opened, ["/0/099.jpg"])
    add(opened, *photos_of(0, 1, first=99, quality=15.0))
    cluster(opened)
    name_group(opened, number_of(opened, "/0/099.jpg"), "Bea")
    assert names(opened) == {"Ada": 15, "Bea": 1, None: 9}


def test_a_family_is_not_one_group(tmp_path):
    """Twenty siblings resemble each other far more than strangers do, and ten blurred faces resemble all of them."""
    common, own = unit(1, seed=5)[0], unit(20, seed=6)
    siblings = [(0.6 * common + one) / np.linalg.norm(0.6 * common + one) for one in own]
    files = [
        seen_file(f"/{at}/{number}.jpg", near(one, 100 * at + number, 0.5))
        for at, one in enumerate(siblings)
        for number in range(6)
    ]
    files += [seen_file(f"/blurred/{n}.jpg", near(common, 5000 + n, 0.5), quality=1.0) for n in range(10)]
    with scanned(tmp_path / "g", files) as opened:
        alike = np.stack(siblings) @ np.stack(siblings).T
        logits = opened.head.pairwise(np.stack(siblings), np.stack(siblings))
        assert np.median(alike[np.triu_indices(20, 1)]) > 0.2
        assert np.median(logits[np.triu_indices(20, 1)]) > opened.calibration.scores[0].impostor.location
        cluster(opened)
        places, files_of = opened.library.membership(), opened.library.files()
        photo_of = {file.photo: source.split("/")[1] for source, file in files_of.items()}
        who = [photo_of[photo] for photo in places.photos.tolist()]
        for group in set(places.groups.tolist()):
            inside = {who[row] for row in np.flatnonzero(places.groups == group)} - {"blurred"}
            assert len(inside) <= 1
        assert max(np.bincount(places.groups)) <= 6 + 10


def test_a_chain_of_faces_that_grow_up_does_not_join_two_people(tmp_path):
    """Children resemble each other; each person's photos lead from a common face to the adult's own."""
    child, adults = unit(1, seed=8)[0], unit(8, seed=9)
    files = []
    for at, adult in enumerate(adults):
        for step, age in enumerate(np.linspace(0.5, 1, 8)):
            face = (1 - age) * child + age * adult
            files.append(seen_file(f"/{at}/{step}.jpg", near(face / np.linalg.norm(face), 50 * at + step, 0.3)))
    with scanned(tmp_path / "g", files) as opened:
        cluster(opened)
        groups = opened.library.membership().groups.reshape(8, 8)
        assert max(np.bincount(groups.ravel())) <= 2 * 8
        assert len(set(groups[:, -1].tolist())) == 8


def test_an_ignored_group_does_not_come_back(opened):
    ignore_group(opened, 2)
    for batch in range(3):
        add(opened, *photos_of(1, 2, first=10 + 2 * batch), *photos_of(4, 1, first=batch))
        listed = [group for group in cluster(opened) if not group.ignored]
        assert {number_of(opened, f"/1/{n:03d}.jpg") for n in range(4)} == {2}
        assert 2 not in {group.number for group in listed}
        assert not any(example.startswith("/1/") for group in listed for example in group.examples)


def test_an_ignored_group_is_tried_again_when_it_shall_be(opened):
    ignore_group(opened, 2)
    cluster(opened)
    ignore_group(opened, 2, False)
    opened.add_faces([record("Bob", near(PEOPLE[1], 777))])
    (again,) = [group for group in cluster(opened) if group.number == 2]
    assert (again.faces, again.resembles, again.ignored) == (4, "Bob", False)


def test_a_face_that_stood_alone_is_tried_again_with_every_photo_that_comes(opened):
    add(opened, *photos_of(5, 1))
    assert cluster(opened)[-1].faces == 1
    alone = number_of(opened, "/5/000.jpg")
    add(opened, *photos_of(5, 3, first=1))
    cluster(opened)
    assert {number_of(opened, f"/5/{n:03d}.jpg") for n in range(4)} == {number_of(opened, "/5/000.jpg")}
    assert alone not in {group.number for group in cluster(opened) if group.faces == 1}


def test_a_split_face_is_tried_again_elsewhere_and_never_where_it_was(opened):
    split_group(opened, 1, ["/0/000.jpg"])
    opened.add_faces([record("Eve", near(PEOPLE[0], 778))])
    cluster(opened)
    rest = {number_of(opened, f"/0/{n:03d}.jpg") for n in range(1, 5)}
    assert len(rest) == 1
    assert number_of(opened, "/0/000.jpg") not in rest
    resembling = {group.number for group in cluster(opened) if group.resembles == "Eve"}
    assert len(resembling) == 1  # the split face and the rest cannot both be Eve


def test_names_outlive_scans_groupings_and_another_model(tmp_path):
    photos = tmp_path / "photos"
    for number, side in enumerate((200, 210, 220)):
        save_face(photos / f"{number}.png", 1, side=side)
    with scanned(tmp_path / "g", []) as opened:
        list(scan(opened, list_photos(photos)))
        (group,) = cluster(opened)
        name_group(opened, group.number, "Ada")
        save_face(photos / "later.png", 1, side=230)
        decided = {str(photos / f"{number}.png"): "Ada" for number in range(3)} | {str(photos / "later.png"): None}
        for rate in (0.001, 0.05, 0.5):
            list(scan(opened, list_photos(photos)))
            cluster(opened, rate)
            assert named_sources(opened) == decided
        opened.reindex(other_encoder(tmp_path / "other.safetensors"))
        cluster(opened)
        assert named_sources(opened) == decided
        assert opened.match(opened.library.faces_named("Ada").vectors[0], top=1)[0].name == "Ada"


def named_sources(opened):
    """The name of the only face of each photo, by its source."""
    faces = opened.library.faces()
    name_of = dict(zip(faces.photos.tolist(), faces.names, strict=True))
    return {source: name_of.get(file.photo) for source, file in opened.library.files().items()}


def hard_library():
    """Ten batches of photos of twelve people, whose photos differ so much that not all of a person's are one group."""
    people, rng = unit(12, seed=41), np.random.default_rng(3)
    batches = []
    for batch in range(10):
        chosen = rng.permutation(12)[:8]
        batches.append(
            [
                seen_file(f"/{who}/{batch}-{copy}.jpg", near(people[who], 100 * batch + 10 * who + copy, 1.1))
                for who in chosen.tolist()
                for copy in range(2)
            ]
        )
    return batches


def spread(opened):
    """Over how many groups and names each person's photos are spread."""
    faces = opened.library.faces()
    person_of = {file.photo: source.split("/")[1] for source, file in opened.library.files().items()}
    where = {}
    for photo, group, name in zip(faces.photos.tolist(), faces.groups.tolist(), faces.names, strict=True):
        where.setdefault(person_of[photo], set()).add(name or group)
    return {person: len(places) for person, places in where.items()}


def test_a_library_that_grows_has_the_groups_of_one_that_came_at_once(tmp_path):
    batches = hard_library()
    with scanned(tmp_path / "once", [photo for batch in batches for photo in batch]) as once:
        cluster(once)
        expected, spread_once = groups_of(once), spread(once)
    assert sum(spread_once.values()) > len(spread_once)  # it is hard enough to be spread
    with scanned(tmp_path / "grown", []) as grown:
        for batch in batches:
            add(grown, *batch)
            cluster(grown)
        assert groups_of(grown) == expected
        assert spread(grown) == spread_once


def test_a_library_that_is_named_as_it_grows_is_spread_over_no_more_groups(tmp_path):
    batches = hard_library()
    with scanned(tmp_path / "once", [photo for batch in batches for photo in batch]) as once:
        cluster(once)
        spread_once = spread(once)
    with scanned(tmp_path / "grown", []) as grown:
        for batch in batches:
            add(grown, *batch)
            for group in cluster(grown):
                if group.faces > 1 or group.resembles:
                    name_group(grown, group.number, f"person {group.examples[0].split('/')[1]}")
        spread_named = spread(grown)
    assert sum(spread_named.values()) <= sum(spread_once.values())


def test_a_face_that_belongs_nowhere_is_named_alone(opened):
    noise = unit(30, seed=61)
    add(opened, *[seen_file(f"/noise/{n}.jpg", vector, quality=1.0) for n, vector in enumerate(noise)])
    cluster(opened)
    assert len({number_of(opened, f"/noise/{n}.jpg") for n in range(30)}) == 30
    assert name_group(opened, number_of(opened, "/noise/7.jpg"), "Ada").faces == 1
    cluster(opened)
    assert names(opened) == {"Ada": 1, None: 43}


def test_a_named_blur_gives_its_name_to_no_other_blur(tmp_path):
    """Blurred faces resemble each other. A name for one of them is no name for all."""
    blur = unit(1, seed=51)[0]
    noise = [seen_file(f"/noise/{n}.jpg", near(blur, 60 + n, 0.6), quality=1.0) for n in range(20)]
    with scanned(tmp_path / "g", [*photos_of(0, 5), *noise]) as opened:
        groups = cluster(opened)
        mixed = [group for group in groups if len({example.split("/")[1] for example in group.examples}) > 1]
        assert not mixed  # noise is apart from clear faces
        named = name_group(opened, number_of(opened, "/noise/0.jpg"), "Ada")
        before = names(opened)
        add(opened, *[seen_file(f"/noise/{n}.jpg", near(blur, 60 + n, 0.6), quality=1.0) for n in range(20, 40)])
        cluster(opened)
        assert names(opened)["Ada"] == before["Ada"] == named.faces  # later noise waits for a decision
        opened.undo()
        assert set(names(opened)) == {None}
