"""Names of people from paths, by one rule for folders and packs."""

import bz2
import errno
import gzip
import io
import lzma
import os
import tarfile
import unicodedata
import zipfile

import numpy as np
import pytest

from facedex.errors import DataError, FacedexError, NameInvalid, PhotoError
from facedex.photos.packs import is_pack
from facedex.photos.sources import (
    NamedPhoto,
    name_from,
    open_people,
    person_name,
    read_source,
    source_path,
    under,
)

TREE = {
    "Ada Lovelace/1.jpg": b"ada 1",
    "Ada Lovelace/deeper/2.PNG": b"ada 2",
    "Grace_Hopper_0001.jpg": b"grace 1",
    "Grace_Hopper_0002.webp": b"grace 2",
    "José/a.b.jpeg": b"jose",
    "Mary.jfif": b"mary",
}
EXPECTED = sorted(
    [
        ("Ada Lovelace", "Ada Lovelace/1", b"ada 1"),
        ("Ada Lovelace", "Ada Lovelace/deeper/2", b"ada 2"),
        ("Grace_Hopper", "Grace_Hopper/Grace_Hopper_0001", b"grace 1"),
        ("Grace_Hopper", "Grace_Hopper/Grace_Hopper_0002", b"grace 2"),
        ("José", "José/a.b", b"jose"),
        ("Mary", "Mary/Mary", b"mary"),
    ]
)


def folder(path, tree):
    for name, data in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def tar(path, tree, mode="w"):
    with tarfile.open(path, mode) as pack:
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return path


def zipped(path, tree, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as pack:
        for name, data in tree.items():
            pack.writestr(name, data)
    return path


MODES = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}


def pack(path, tree):
    return zipped(path, tree) if path.suffix == ".zip" else tar(path, tree, MODES[path.suffix])


PACKS = ["people.tar", "people.tar.gz", "people.tgz", "people.tar.bz2", "people.tar.xz", "people.zip"]


def contents(source):
    with open_people(source) as photos:
        return sorted((photo.name, photo.key, photo.read()) for photo in photos)


# names


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("Ada Lovelace", "1.jpg"), "Ada Lovelace"),
        (("Ada", "holiday", "sea", "1.jpg"), "Ada"),
        (("Ada_0001", "1.jpg"), "Ada_0001"),
        (("Ada.jpg",), "Ada"),
        (("Ada_0001.jpg",), "Ada"),
        (("Ada_001.jpg",), "Ada_001"),
        (("Ada_00011.jpg",), "Ada_00011"),
        (("Ada_0001_0002.jpg",), "Ada_0001"),
        (("J. R. R. Tolkien.jpg",), "J. R. R. Tolkien"),
    ],
)
def test_the_name_is_the_first_folder_or_else_the_stem(parts, name):
    assert name_from(parts) == name


def test_names_are_kept_in_nfc():
    decomposed = unicodedata.normalize("NFD", "José Žižek")
    assert decomposed != "José Žižek"
    assert person_name(decomposed) == "José Žižek"


def test_folders_that_differ_only_in_normal_form_are_one_person(tmp_path):
    folder(tmp_path, {f"{unicodedata.normalize(form, 'José')}/{form}.jpg": b"x" for form in ("NFC", "NFD")})
    assert {name for name, _, _ in contents(tmp_path)} == {"José"}


def test_surrounding_space_is_removed_and_inner_space_is_kept():
    assert person_name("  Ada  Lovelace ") == "Ada  Lovelace"


@pytest.mark.parametrize("text", ["unknown", "Unknown", "UNKNOWN", " unknown "])
def test_the_answer_for_strangers_is_refused_as_a_name(text):
    with pytest.raises(NameInvalid, match="strangers"):
        person_name(text)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0", "\x1b[31mred", "\ud800"])
def test_empty_names_and_control_characters_are_refused(text):
    with pytest.raises(NameInvalid):
        person_name(text)


def test_a_name_that_contains_unknown_is_kept():
    assert person_name("Unknown Soldier") == "Unknown Soldier"


@pytest.mark.parametrize("pack_name", ["people", *PACKS])
def test_photos_in_a_folder_called_unknown_raise_when_read_and_the_others_can_be_read(tmp_path, pack_name):
    tree = {"Ada/1.jpg": b"ada", "Unknown/1.jpg": b"x", "Zoe/1.jpg": b"zoe"}
    source = pack(tmp_path / pack_name, tree) if "." in pack_name else folder(tmp_path / pack_name, tree)
    with open_people(source) as photos:
        for photo in photos:
            if photo.name == "Unknown":
                with pytest.raises(PhotoError, match=r"1\.jpg.*strangers"):
                    photo.read()
            else:
                assert photo.read() == tree[photo.key + ".jpg"]


@pytest.mark.parametrize("pack_name", ["people", "a:b", *PACKS, "odd:name.zip"])
def test_a_photo_can_be_read_from_its_source(tmp_path, monkeypatch, pack_name):
    source = pack(tmp_path / pack_name, TREE) if "." in pack_name else folder(tmp_path / pack_name, TREE)
    monkeypatch.chdir(tmp_path)
    with open_people(source.name) as photos:
        found = {photo.source: photo.read() for photo in photos}
    assert sorted(found.values()) == sorted(TREE.values())
    monkeypatch.chdir("/")
    assert all(read_source(photo) == data and under(source)(photo) for photo, data in found.items())
    assert not any(under(tmp_path / "peopl")(photo) for photo in found)
    (tmp_path / "a").mkdir(exist_ok=True)
    assert not any(under(tmp_path / "a")(photo) for photo in found), "the folder a:b is not in the folder a"


def test_the_source_of_a_path_that_is_not_unicode_is_text_and_can_be_read(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.jpg")
    try:
        with open(path, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("this file system only keeps Unicode")
    photo = NamedPhoto("Ada", "Ada/1", path, lambda: b"x")
    photo.source.encode()
    assert source_path(photo.source) == path
    assert read_source(photo.source) == b"x"


# folders and packs


def test_folder_of_people(tmp_path):
    assert contents(folder(tmp_path, TREE)) == EXPECTED


@pytest.mark.parametrize("name", PACKS)
def test_pack_equals_the_folder(tmp_path, name):
    path = pack(tmp_path / name, TREE)
    assert is_pack(path)
    assert contents(path) == EXPECTED


@pytest.mark.parametrize("name", PACKS)
def test_hidden_members_and_resource_files_of_a_pack_are_ignored(tmp_path, name):
    hidden = [".DS_Store.jpg", "Ada/.1.jpg", ".git/1.jpg", "__MACOSX/Ada/1.jpg", "../up.jpg", "Ada/notes.txt"]
    path = pack(tmp_path / name, {**dict.fromkeys(hidden, b"x"), "Ada/1.jpg": b"ada"})
    assert contents(path) == [("Ada", "Ada/1", b"ada")]


def test_members_may_begin_with_a_dot_or_contain_backslashes(tmp_path):
    path = zipped(tmp_path / "people.zip", {"./Ada/1.jpg": b"1", "Bob\\1.jpg": b"2"})
    assert contents(path) == [("Ada", "Ada/1", b"1"), ("Bob", "Bob/1", b"2")]


def test_links_and_folders_in_a_tar_are_ignored(tmp_path):
    path = tar(tmp_path / "people.tar", {"Ada/1.jpg": b"ada"})
    with tarfile.open(path, "a") as opened:
        for name, kind in (("Ada/2.jpg", tarfile.SYMTYPE), ("Bob.jpg", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
    assert contents(path) == [("Ada", "Ada/1", b"ada")]


def test_the_path_of_a_packed_photo_contains_pack_and_member(tmp_path):
    path = zipped(tmp_path / "people.zip", {"Ada/1.jpg": b"ada"})
    with open_people(path) as photos:
        assert [photo.path for photo in photos] == [f"{path}:Ada/1.jpg"]


def test_photos_of_a_folder_are_read_late(tmp_path):
    folder(tmp_path, {"Ada/1.jpg": b"x"})
    with open_people(tmp_path) as photos:
        (photo,) = photos
        (tmp_path / "Ada/1.jpg").unlink()
        with pytest.raises(PhotoError):
            photo.read()


# broken sources


@pytest.mark.parametrize("name", ["nowhere", "nowhere.tar", "nowhere.zip"])
def test_missing_source_is_a_data_error(tmp_path, name):
    with pytest.raises(DataError, match="does not exist"):
        contents(tmp_path / name)


def test_plain_file_is_a_data_error(tmp_path):
    (tmp_path / "people.txt").write_bytes(b"Ada")
    with pytest.raises(DataError, match="not a folder"):
        contents(tmp_path / "people.txt")


@pytest.mark.parametrize("data", [b"", b"just text" * 99], ids=["empty", "text"])
@pytest.mark.parametrize("name", PACKS)
def test_a_file_that_is_no_pack_is_a_data_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="not a readable"):
        contents(tmp_path / name)


NOISE = {f"Ada/{i}.jpg": np.random.default_rng(i).bytes(3000) for i in range(4)}


@pytest.mark.parametrize("name", PACKS)
def test_truncated_pack_is_a_data_error(tmp_path, name):
    path = pack(tmp_path / name, NOISE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a readable"):
        contents(path)


@pytest.mark.parametrize("name", [name for name in PACKS if "zip" not in name])
def test_a_damaged_header_of_a_tar_is_a_data_error(tmp_path, name):
    path = pack(tmp_path / name, NOISE)
    opened = {".tar": open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, gzip.open)
    with opened(path, "rb") as file:
        data = bytearray(file.read())
    data[data.index(b"Ada/2.jpg")] ^= 1
    with opened(path, "wb") as file:
        file.write(data)
    with pytest.raises(DataError, match="damaged at byte"):
        contents(path)
    with opened(path, "wb") as file:  # cut between two members, so that the end mark is missing
        file.write(data[: data.index(b"Ada/1.jpg")])
    with pytest.raises(DataError, match="damaged at byte"):
        contents(path)


def test_altered_member_of_a_zip_is_a_data_error(tmp_path):
    path = zipped(tmp_path / "people.zip", {"Ada/1.jpg": b"a" * 3000})
    data = bytearray(path.read_bytes())
    data[41] ^= 0xFF  # the first byte of the compressed member
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a readable"):
        contents(path)


def test_altered_gzip_stream_is_a_data_error(tmp_path):
    path = tar(tmp_path / "people.tar.gz", {"Ada/1.jpg": b" ".join(b"%d" % i for i in range(20_000))}, "w:gz")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50] = b"\xff" * 50
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a readable"):
        contents(path)


def test_zip_with_a_password_is_a_data_error(tmp_path):
    path = zipped(tmp_path / "people.zip", {"Ada/1.jpg": b"ada"})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="password"):
        contents(path)


@pytest.mark.parametrize("name", PACKS)
def test_an_error_of_the_caller_is_not_turned_into_a_data_error(tmp_path, name):
    path = pack(tmp_path / name, TREE)

    def read_one_and_fail():
        with open_people(path) as photos:
            next(photos)
            raise OSError(errno.ENOSPC, "disk is full")

    with pytest.raises(OSError, match="disk is full"):
        read_one_and_fail()


@pytest.mark.parametrize("name", PACKS)
def test_altered_packs_give_photos_or_a_facedex_error(tmp_path, name):
    path = pack(tmp_path / name, TREE)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    failed = 0
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            contents(path)
        except FacedexError:
            failed += 1
    assert failed
