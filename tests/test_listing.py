"""Finding photos below a folder: what counts as a photo, and what systems and programs leave beside photos."""

import io
import os
import socket
import tarfile
import zipfile

import pytest
from PIL import Image, features

from facedex.errors import PhotoError
from facedex.photos.images import read_bytes
from facedex.photos.listing import find_photos, is_gone
from facedex.photos.sources import expand, open_people
from tests.helpers import closed

FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"]


def picture(kind="JPEG"):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def put(folder, *names, data=None):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture() if data is None else data)


def found(folder):
    return [path.relative_to(folder).as_posix() for path in find_photos(folder)]


def test_photos_are_found_in_the_order_of_their_names(tmp_path):
    names = ["a/2.jpg", "a/10.jpg", "b.jpg", "c/deep/er/x.PNG", "c/y.webp", "é.jpg"]
    put(tmp_path, *reversed(names))
    assert found(tmp_path) == ["a/10.jpg", "a/2.jpg", "b.jpg", "c/deep/er/x.PNG", "c/y.webp", "é.jpg"]
    assert found(tmp_path) == found(tmp_path)


def test_hidden_files_and_folders_are_ignored(tmp_path):
    put(tmp_path, "a.jpg", ".hidden.jpg", ".hidden/b.jpg", "._a.jpg")
    assert found(tmp_path) == ["a.jpg"]


def test_other_files_are_ignored(tmp_path):
    put(tmp_path, "notes.txt", "thumbs.db", "README", "empty", data=b"not a picture")
    put(tmp_path, "nothing", data=b"")
    assert found(tmp_path) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_photo_without_a_suffix_is_found_by_content(tmp_path, kind):
    put(tmp_path, "portrait", data=picture(kind))
    assert found(tmp_path) == ["portrait"]


def test_a_broken_photo_is_listed(tmp_path):
    put(tmp_path, "broken.jpg", data=b"rubbish")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert found(tmp_path) == ["broken.jpg", "dangling.jpg", "loop.jpg"]


def test_linked_folder_is_followed(tmp_path):
    put(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "here") == ["link/a.jpg"]


def test_a_loop_of_links_gives_every_photo_once(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "up").symlink_to(tmp_path / "b")
    assert found(tmp_path) == ["a/1.jpg", "b/2.jpg"]


def test_missing_folder_is_a_photo_error(tmp_path):
    with pytest.raises(PhotoError, match="cannot be listed"):
        list(find_photos(tmp_path / "nowhere"))


def test_a_folder_that_cannot_be_listed_stands_for_its_photos(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    with closed(tmp_path / "b"):
        assert found(tmp_path) == ["a/1.jpg", "b", "c/3.jpg"]
        with pytest.raises(PhotoError, match=r"b cannot be read \(Permission denied\)"):
            read_bytes(tmp_path / "b")
        with pytest.raises(PhotoError, match="cannot be listed"):
            list(find_photos(tmp_path / "b"))


def test_what_may_not_be_looked_at_is_not_gone(tmp_path):
    put(tmp_path, "b/2.jpg")
    with closed(tmp_path / "b"):
        assert not is_gone(tmp_path / "b" / "2.jpg")
    assert not is_gone(tmp_path / "b" / "2.jpg")
    assert is_gone(tmp_path / "b" / "3.jpg")
    assert is_gone(tmp_path / "b" / "2.jpg" / "4.jpg")


LEFTOVERS = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "#recycle/a.jpg",
    ".Trash-1000/files/a.jpg",
    "$RECYCLE.BIN/S-1-5/a.jpg",
    "System Volume Information/a.jpg",
    "lost+found/a.jpg",
    "__MACOSX/Ada/._1.jpg",
    "Ada/Thumbs/1.jpg",
    "Ada/@EADIR/1.jpg",
]


@pytest.mark.parametrize("pack", ["folder", "zip", "tar"])
def test_leftovers_of_systems_are_no_people(tmp_path, pack):
    files = {**dict.fromkeys(LEFTOVERS, picture()), "Ada/1.jpg": picture(), "Bob/1.jpg": picture()}
    files |= {"Thumbs.db": b"x", "desktop.ini": b"x"}
    assert people_in(tmp_path, pack, files) == ["Ada/1", "Bob/1"]


@pytest.mark.parametrize("pack", ["folder", "zip", "tar"])
def test_a_raw_file_beside_a_photo_of_the_same_name_is_not_counted(tmp_path, pack):
    names = ["Ada/IMG_1.CR2", "Ada/IMG_1.JPG", "Ada/IMG_2.nef", "Bob/IMG_1.dng", "Bob/IMG_1.heic"]
    assert people_in(tmp_path, pack, dict.fromkeys(names, picture())) == ["Ada/IMG_1", "Ada/IMG_2", "Bob/IMG_1"]


def people_in(tmp_path, pack, files):
    """The keys of the photos in a folder or pack of these files."""
    source = tmp_path / f"people.{pack}"
    if pack == "folder":
        for name, data in files.items():
            put(source, name, data=data)
    elif pack == "zip":
        with zipfile.ZipFile(source, "w") as opened:
            for name, data in files.items():
                opened.writestr(name, data)
    else:
        with tarfile.open(source, "w") as opened:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
    with open_people(source) as photos:
        return sorted(photo.key for photo in photos)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_pipes_and_sockets_are_not_waited_for(tmp_path, monkeypatch):
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        assert found(tmp_path) == ["a.jpg"]
        assert list(expand([tmp_path / "*"])) == [str(tmp_path / "a.jpg")]


def test_a_text_that_begins_like_a_bmp_is_no_photo(tmp_path):
    put(tmp_path, "cars", data=b"BMW and other makers of cars, a list that is longer than a header")
    assert found(tmp_path) == []
