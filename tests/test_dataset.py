"""Sets of faces: loading, the cache, corrections, joins and splits."""

import os
import sys
import time

import numpy as np
import pytest
from PIL import Image

from facedex.data.dataset import CANVAS, Faces, correct, join, load_faces, split_people, without_people
from facedex.errors import DataError
from facedex.faces import detector
from facedex.faces.alignment import MARGIN, SIZE
from tests.helpers import save_blank, save_face
from tests.synthetic import person_crop, write_pack


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def folder(root, people=3, photos=2, side=CANVAS):
    """A folder of aligned synthetic people."""
    for person in range(people):
        for photo in range(photos):
            write(root / f"person{person}" / f"{photo}.png", person_crop(person, photo, side))
    return root


def faces_of(names):
    """Faces of these people in this order. Each crop is of one shade, its position."""
    unique, people = np.unique(names, return_inverse=True)
    crops = np.arange(len(names), dtype=np.uint8)[:, None, None, None] * np.ones((CANVAS, CANVAS, 3), np.uint8)
    keys = [f"{name}/{i}" for i, name in enumerate(names)]
    return Faces(crops, np.arange(len(names)), people.astype(np.int64), unique.tolist(), keys)


def shown(faces):
    """{key: name}"""
    return {key: faces.names[person] for key, person in zip(faces.keys, faces.people, strict=True)}


def shades(faces):
    return faces.crops112()[:, 0, 0, 0].tolist()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def people(tmp_path):
    return folder(tmp_path / "people")


# loading


def test_aligned_crops_stay_unchanged(people, cache):
    faces = load_faces(people, cache, aligned=True)
    assert faces.names == ["person0", "person1", "person2"]
    assert faces.keys == [f"person{i // 2}/{i % 2}" for i in range(6)]
    assert faces.people.tolist() == [0, 0, 1, 1, 2, 2]
    for i, crop in enumerate(faces.crops):
        assert np.array_equal(crop, person_crop(i // 2, i % 2))
        assert np.array_equal(faces.crops112()[i], crop[MARGIN:-MARGIN, MARGIN:-MARGIN])


def test_the_margin_of_small_crops_repeats_their_edge(tmp_path, cache):
    faces = load_faces(folder(tmp_path / "people", side=SIZE), cache, aligned=True)
    assert faces.crops.shape == (6, CANVAS, CANVAS, 3)
    assert np.array_equal(faces.crops112()[0], person_crop(0, 0, SIZE))
    assert (faces.crops[0][:MARGIN] == faces.crops[0][MARGIN]).all()


def test_a_pack_gives_the_same_crops_as_its_folder(tmp_path, cache):
    pack = load_faces(write_pack(tmp_path / "people.tar", 3, 2), cache, aligned=True)
    assert len(pack) == 6
    for i in range(6):
        assert np.array_equal(pack.crops[i], person_crop(i // 2, i % 2))


def test_photo_is_detected_and_aligned(tmp_path, cache):
    save_face(tmp_path / "people/Ada/1.png", 0)
    save_face(tmp_path / "people/Ada/2.png", 0)
    write(tmp_path / "people/Bob/1.png", np.rot90(np.asarray(Image.open(tmp_path / "people/Ada/1.png"))))
    faces = load_faces(tmp_path / "people", cache)
    assert faces.crops.shape == (3, CANVAS, CANVAS, 3)
    assert np.array_equal(faces.crops[0], faces.crops[1])
    # The photo turned by 90 degrees gives an upright crop too.
    assert np.abs(faces.crops[2].astype(int) - faces.crops[0]).mean() < 12


def test_aligned_photo_of_another_size_is_left_out_with_a_notice(people, cache):
    write(people / "person0" / "large.png", person_crop(0, 9, 200))
    notices = []
    faces = load_faces(people, cache, aligned=True, notice=notices.append)
    assert len(faces) == 6
    assert len(notices) == 1
    assert "large.png is 200 x 200" in notices[0]


def test_bad_photos_do_not_stop_the_batch(tmp_path, cache):
    people = tmp_path / "people"
    save_face(people / "Ada/good.png", 0)
    save_blank(people / "Ada/noface.png")
    (people / "Ada/empty.jpg").write_bytes(b"")
    (people / "Ada/text.jpg").write_text("no picture")
    (people / "Ada/truncated.png").write_bytes((people / "Ada/good.png").read_bytes()[:2000])
    (people / "Ada/heic.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (people / "Ada/gone.jpg").symlink_to("nowhere.jpg")
    notices = []
    faces = load_faces(people, cache, notice=notices.append)
    assert faces.keys == ["Ada/good"]
    reasons = dict(zip(["empty", "gone", "heic", "noface", "text", "truncated"], notices, strict=True))
    assert all(f"{name}." in notice for name, notice in reasons.items())
    assert "does not exist" in reasons["gone"]
    assert "no face" in reasons["noface"]
    assert "is empty" in reasons["empty"]


def test_heic_photo_without_its_extra_does_not_stop_the_batch(people, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (people / "person0/x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    notices = []
    assert len(load_faces(people, cache, aligned=True, notice=notices.append)) == 6
    assert len(notices) == 1
    assert "facedex[heic]" in notices[0]


def test_progress_counts_used_and_unused_photos(people, cache):
    (people / "person0/broken.png").write_bytes(b"x")
    counts = []
    load_faces(people, cache, aligned=True, progress=counts.append)
    assert sum(counts) == 7


@pytest.mark.parametrize("broken", ["folder", "missing", "faceless"])
def test_source_without_a_usable_photo_is_a_data_error_and_leaves_nothing(tmp_path, cache, broken):
    source = tmp_path / "people"
    if broken != "missing":
        source.mkdir()
    if broken == "faceless":
        save_blank(source / "Ada/1.png")
    with pytest.raises(DataError, match="people"):
        load_faces(source, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has file names of bytes")
def test_a_photo_whose_file_name_is_not_unicode_is_read(people, cache):
    try:
        os.rename(people / "person0/0.png", os.fsencode(people) + b"/person0/\xff.png")
    except OSError:
        pytest.skip("this file system only keeps Unicode")
    faces = load_faces(people, cache, aligned=True)
    assert len(faces) == 6
    assert len(faces.digest()) == 64


# the cache


def count_photos_read(people, cache):
    counts = []
    load_faces(people, cache, aligned=True, progress=counts.append)
    return sum(counts)


def test_second_load_reads_no_photo_and_gives_the_same(people, cache):
    first = load_faces(people, cache, aligned=True)
    assert count_photos_read(people, cache) == 0
    second = load_faces(people, cache, aligned=True)
    assert np.array_equal(first.crops, second.crops)
    assert shown(first) == shown(second)
    assert first.digest() == second.digest()


def test_another_version_of_the_detector_makes_the_crops_anew(tmp_path, cache, monkeypatch):
    save_face(tmp_path / "people/Ada/1.png", 0)
    save_face(tmp_path / "people/Bob/1.png", 1)

    def photos_read():
        counts = []
        load_faces(tmp_path / "people", cache, progress=counts.append)
        return sum(counts)

    assert (photos_read(), photos_read()) == (2, 0)
    monkeypatch.setattr(detector, "VERSION", detector.VERSION + 1)
    assert photos_read() == 2


def test_new_photo_is_seen(people, cache):
    load_faces(people, cache, aligned=True)
    write(people / "person9/0.png", person_crop(9, 0))
    assert "person9" in load_faces(people, cache, aligned=True).names


def test_removed_photo_is_gone(people, cache):
    load_faces(people, cache, aligned=True)
    (people / "person0/0.png").unlink()
    assert len(load_faces(people, cache, aligned=True)) == 5


def test_rewritten_photo_is_read_anew(people, cache):
    path = write(people / "person0/0.bmp", person_crop(0, 0))  # uncompressed, so that the size stays the same
    (people / "person0/0.png").unlink()
    load_faces(people, cache, aligned=True)
    before = path.stat()
    write(path, person_crop(5, 5))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    assert path.stat().st_size == before.st_size
    assert np.array_equal(load_faces(people, cache, aligned=True).crops[0], person_crop(5, 5))


def test_renamed_person_is_renamed(people, cache):
    load_faces(people, cache, aligned=True)
    (people / "person0").rename(people / "somebody")
    assert "somebody" in load_faces(people, cache, aligned=True).names


def test_aligned_and_detected_crops_have_separate_caches(tmp_path, cache):
    people = tmp_path / "people"
    save_face(people / "Ada/1.png", 0)
    detected = load_faces(people, cache)
    with pytest.raises(DataError):
        load_faces(people, cache, aligned=True)
    assert np.array_equal(load_faces(people, cache).crops, detected.crops)


@pytest.mark.parametrize("suffix", ["npy", "json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\x93NUMPY rubbish"])
def test_damaged_cache_is_a_data_error(people, cache, suffix, content):
    load_faces(people, cache, aligned=True)
    (path,) = cache.glob(f"*.{suffix}")
    path.write_bytes(content)
    with pytest.raises(DataError, match="delete them and start again"):
        load_faces(people, cache, aligned=True)


def test_building_that_fails_leaves_nothing(people, cache, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    for broken in ({"progress": full}, {}):
        with pytest.raises(OSError, match="No space"):
            load_faces(people, cache, aligned=True, **broken)
        assert list(cache.iterdir()) == []
        monkeypatch.setattr(os, "replace", full)


@pytest.mark.skipif(os.name != "posix", reason="compares files by their age")
def test_old_partial_files_are_removed_and_recent_ones_stay(people, cache):
    cache.mkdir()
    abandoned = [
        cache / f"crops-0123456789abcdef.{kind}-{process}" for kind, process in (("npy", 17), ("partial", 10**12))
    ]
    recent = cache / "crops-0123456789abcdef.npy-18"
    for path in (*abandoned, recent):
        path.write_bytes(b"half")
    for path in abandoned:
        os.utime(path, (time.time() - 90_000,) * 2)
    assert len(load_faces(people, cache, aligned=True)) == 6
    assert recent.exists()
    assert not any(path.exists() for path in abandoned)


def test_crops_stay_on_disk(people, cache):
    assert isinstance(load_faces(people, cache, aligned=True).crops, np.memmap)


# corrections


def table(tmp_path, *rows):
    path = tmp_path / "corrections.csv"
    path.write_text("key,person,why\n" + "".join(f"{key},{person},because\n" for key, person in rows), "utf-8")
    return path


NAMES = ["ada", "ada", "bob", "bob", "eve"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {"ada/0": "ada", "ada/1": "ada", "bob/2": "bob", "bob/3": "bob", "eve/4": "eve"}),
        ([("ada/1", "")], {"ada/0": "ada", "bob/2": "bob", "bob/3": "bob", "eve/4": "eve"}),
        ([("bob", "")], {"ada/0": "ada", "ada/1": "ada", "eve/4": "eve"}),
        ([("ada/1", "eve")], {"ada/0": "ada", "ada/1": "eve", "bob/2": "bob", "bob/3": "bob", "eve/4": "eve"}),
        ([("bob", "ada")], {"ada/0": "ada", "ada/1": "ada", "bob/2": "ada", "bob/3": "ada", "eve/4": "eve"}),
        ([("bob", "ada"), ("ada", "eve")], dict.fromkeys(("ada/0", "ada/1", "bob/2", "bob/3", "eve/4"), "eve")),
        ([("bob", "ada"), ("ada", "")], {"eve/4": "eve"}),
        ([("bob/2", "ada"), ("ada", "")], {"bob/3": "bob", "eve/4": "eve"}),
        ([("nobody", "ada")], {"ada/0": "ada", "ada/1": "ada", "bob/2": "bob", "bob/3": "bob", "eve/4": "eve"}),
    ],
    ids=["none", "drop photo", "drop person", "move photo", "double", "chain", "chain out", "photo out", "stranger"],
)
def test_corrections_are_applied(tmp_path, rows, expected):
    corrected = correct(faces_of(NAMES), table(tmp_path, *rows))
    assert shown(corrected) == expected
    assert corrected.names == sorted(set(expected.values()))
    assert shades(corrected) == [int(key.split("/")[1]) for key in expected]


def test_a_circle_of_corrections_ends(tmp_path):
    corrected = correct(faces_of(NAMES), table(tmp_path, ("ada", "bob"), ("bob", "ada")))
    assert len(corrected) == 5


def test_the_error_for_a_key_with_a_suffix_names_the_right_key(tmp_path):
    with pytest.raises(DataError, match=r"key bob/2\.JPG, with a suffix; write bob/2,"):
        correct(faces_of(NAMES), table(tmp_path, ("ada/1", ""), ("bob/2.JPG", "ada")))
    dotted = faces_of(["J.png"])  # a name may end like a suffix
    assert shown(correct(dotted, table(tmp_path, ("J.png", "Jo"), ("J.png/9.png", "")))) == {"J.png/0": "Jo"}


def test_a_table_saved_by_excel_is_read(tmp_path):
    path = table(tmp_path, ("bob", "ada"))
    path.write_text(path.read_text("utf-8"), "utf-8-sig")
    assert set(shown(correct(faces_of(NAMES), path)).values()) == {"ada", "eve"}


@pytest.mark.parametrize("text", ["name,of\nada,bob\n", "key\nada\n"])
def test_a_table_without_its_columns_is_a_data_error(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match="needs the columns"):
        correct(faces_of(NAMES), tmp_path / "table.csv")


def test_missing_and_binary_tables_are_data_errors(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"key,person\n\xff\xfe,x\n")
    for name in ("nowhere.csv", "binary.csv"):
        with pytest.raises(DataError, match="no table"):
            correct(faces_of(NAMES), tmp_path / name)


# several sources


def test_join_makes_the_same_name_one_person():
    joined = join([faces_of(["ada", "bob"]), faces_of(["bob", "eve", "bob"])])
    assert joined.names == ["ada", "bob", "eve"]
    assert joined.people.tolist() == [0, 1, 1, 2, 1]
    assert joined.keys == ["ada/0", "bob/1", "bob/0", "eve/1", "bob/2"]


def test_join_finds_every_crop_in_any_order():
    parts = [faces_of(["a", "b"]), faces_of(["c"]).select(np.array([0])), faces_of(["d", "e", "f"])]
    joined = join([parts[0].select(np.array([1])), *parts[1:]])
    assert shades(joined) == [1, 0, 0, 1, 2]
    chosen = np.array([4, 0, 2, 4])
    assert joined.crops112(chosen)[:, 0, 0, 0].tolist() == [2, 1, 0, 2]


def test_join_of_joined_sources_finds_every_crop():
    inner = join([faces_of(["a", "b"]), faces_of(["c", "d"])])
    assert shades(join([faces_of(["e"]), inner])) == [0, 0, 1, 0, 1]


def test_joining_one_set_returns_it():
    faces = faces_of(NAMES)
    assert join([faces]) is faces


# choosing


def test_select_keeps_people_with_their_faces():
    chosen = faces_of(NAMES).select(np.array([4, 1, 0]))
    assert shown(chosen) == {"eve/4": "eve", "ada/1": "ada", "ada/0": "ada"}
    assert chosen.names == ["ada", "eve"]
    assert shades(chosen) == [4, 1, 0]


def test_faces_without_a_person_cannot_be_selected():
    faces = faces_of(NAMES)
    faces.people[2] = -1
    with pytest.raises(ValueError, match="without a person"):
        faces.select(np.arange(5))


def test_without_people_keeps_all_other_people():
    assert set(shown(without_people(faces_of(NAMES), ["bob", "zoe"])).values()) == {"ada", "eve"}


def test_the_digest_depends_on_the_photos_and_their_people():
    faces = faces_of(NAMES)
    assert faces.digest() == faces_of(NAMES).digest()
    assert faces.digest() != faces.select(np.arange(4)).digest()
    swapped = faces_of(NAMES)
    swapped.people[0] = 1
    assert faces.digest() != swapped.digest()


# splitting


CROWD = [f"p{i:02d}" for i in range(40) for _ in range(1 + i % 4)]  # every fourth person has a single photo


def test_the_sets_of_a_split_have_no_common_person_and_all_faces():
    known, held = split_people(faces_of(CROWD), 0.3, seed=1)
    assert not set(known.names) & set(held.names)
    assert sorted(known.keys + held.keys) == sorted(faces_of(CROWD).keys)


def test_the_share_counts_people_with_two_photos():
    _, held = split_people(faces_of(CROWD), 0.3, seed=1)
    assert len(held.names) == 9  # of 30
    assert np.bincount(held.people).min() >= 2


def test_the_split_depends_on_the_seed():
    first, again, other = (split_people(faces_of(CROWD), 0.3, seed=seed)[1].names for seed in (1, 1, 2))
    assert first == again != other


def test_no_more_people_than_most_are_held_out():
    assert len(split_people(faces_of(CROWD), 0.9, seed=1, most=5)[1].names) == 5


def test_at_least_two_people_are_not_held_out():
    known, held = split_people(faces_of(["a", "a", "b", "b", "c", "c", "d", "d"]), 1.0, seed=1)
    assert len(known.names) == len(held.names) == 2


def test_splitting_too_few_people_is_a_data_error():
    with pytest.raises(DataError, match="at least 4"):
        split_people(faces_of(["a", "a", "b", "b", "c", "c", "d"]), 0.5, seed=1)
