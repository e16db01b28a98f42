"""Archives that are read, archives that are named as what they are, and names in a .zip that are not in UTF-8."""

import tarfile
import zipfile

import pytest

from facedex.errors import DataError
from facedex.photos.sources import named_photos, open_people, read_source

NAMES = {
    "utf-8": ["José Müller", "Žižek", "周杰伦"],
    "cp437": ["José Müller", "Zoë", "Åsa Ñandú"],
    "cp1252": ["José Müller", "Zoë", "Ágnes"],
    "cp866": ["Иван Петров", "Ольга"],
    "cp932": ["田中さくら", "山田太郎", "スズキ ソニア"],
    "gbk": ["周杰伦", "李娜", "王菲"],
}


def zip_of(path, names, encoding):
    """A zip with NAME/1.jpg for each name, in this encoding and without the flag for UTF-8."""
    with zipfile.ZipFile(path, "w") as pack:
        for at, name in enumerate(names):
            pack.writestr(f"{at:0{len(name.encode(encoding))}}/1.jpg", name)  # digits hold the place of the name
    data = path.read_bytes()
    for at, name in enumerate(names):
        raw = name.encode(encoding)
        data = data.replace(b"%0*d/1.jpg" % (len(raw), at), raw + b"/1.jpg")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", NAMES)
def test_names_in_a_zip_are_read_in_the_encoding_that_suits_them(tmp_path, encoding):
    path = zip_of(tmp_path / "people.zip", NAMES[encoding], encoding)
    with open_people(path) as photos:
        found = {photo.name: photo.read().decode() for photo in photos}
    assert found == {name: name for name in NAMES[encoding]}


def test_an_encoding_that_was_named_is_used(tmp_path):
    path = zip_of(tmp_path / "people.zip", ["김연아", "박지성"], "cp949")
    with named_photos([path], encoding="cp949") as (photos, _):
        assert sorted(photo.name for photo in photos) == ["김연아", "박지성"]


def test_a_photo_is_read_again_from_its_source_whatever_the_encoding(tmp_path):
    path = zip_of(tmp_path / "people.zip", ["김연아"], "cp949")
    with named_photos([path], encoding="cp949") as (photos, _):
        sources = [photo.source for photo in photos]
    assert [read_source(source).decode() for source in sources] == ["김연아"]


def test_names_that_are_not_in_the_encoding_are_an_error(tmp_path):
    path = zip_of(tmp_path / "people.zip", NAMES["cp437"], "cp437")
    with named_photos([path], encoding="utf-8") as (photos, _), pytest.raises(DataError, match="not in utf-8"):
        list(photos)


def test_flagged_names_are_left_as_they_are(tmp_path):
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("周杰伦/1.jpg", b"x")
        pack.writestr("Ada/1.jpg", b"x")
    with named_photos([path], encoding="cp866") as (photos, _):
        assert sorted(photo.name for photo in photos) == ["Ada", "周杰伦"]


ARCHIVES = [("people.7z", "7-Zip"), ("people.rar", "RAR")]
if "zst" not in tarfile.TarFile.OPEN_METH:
    ARCHIVES.append(("people.tar.zst", "Zstandard"))


@pytest.mark.parametrize(("name", "kind"), ARCHIVES)
def test_other_archives_are_named_as_what_they_are(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"{kind}.*not read; unpack it"), open_people(tmp_path / name):
        pass
    with pytest.raises(DataError, match=kind), named_photos([tmp_path / name]):
        pass
