"""Lone folders around all photos of a folder or pack, and which of them may be a person's."""

import pytest

from facedex.photos.lonefolders import LoneFolders, find_lone_folders


def parts_of(path):
    return tuple(path.split("/"))


def lone(*paths):
    return find_lone_folders(iter(paths), parts_of)[0]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["Ada.jpg", "Bob/1.jpg"], LoneFolders()),
        (["Ada/1.jpg", "Bob/1.jpg"], LoneFolders()),
        (["Ada/1.jpg", "Ada/2.jpg"], LoneFolders(("Ada",), 0, False)),
        (["Ada/IMG_1.jpg", "Ada/old/IMG_2.jpg"], LoneFolders(("Ada",), 0, False)),
        (["Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg"], LoneFolders(("Ada",), 0, False)),
        (["db/Ada.jpg", "db/Bob.jpg"], LoneFolders(("db",), 0, True, False)),
        (["db/Ada_0001.jpg", "db/Ada_0002.jpg", "db/Bob_0001.jpg"], LoneFolders(("db",), 0, True, True)),
        (["db/Ada/1.jpg", "db/Bob/1.jpg"], LoneFolders(("db",), 0, True, True)),
        (["db/Ada.jpg", "db/Bob/1.jpg"], LoneFolders(("db",), 0, True, True)),
        (["top/db/Ada.jpg", "top/db/Bob.jpg"], LoneFolders(("top", "db"), 1, True)),
        (["db/Ada/1.jpg", "db/Ada/2.jpg"], LoneFolders(("db", "Ada"), 1, False)),
        (["Ada/2024-01-31/1.jpg", "Ada/2024-01-31/2.jpg"], LoneFolders(("Ada", "2024-01-31"), 0, False)),
        ([], LoneFolders()),
    ],
)
def test_lone_folders_are_found(paths, expected):
    assert lone(*paths) == expected


def test_the_photos_are_given_again():
    paths = ["db/Ada.jpg", "db/Bob.jpg", "Cy.jpg", "Di.jpg"]
    assert list(find_lone_folders(iter(paths), parts_of)[1]) == paths


def test_only_the_photos_up_to_the_first_one_outside_are_drawn():
    paths = iter(["Ada/1.jpg", "Bob/1.jpg", "Cy/1.jpg"])
    find_lone_folders(paths, parts_of)
    assert next(paths) == "Cy/1.jpg"


def test_an_error_comes_after_the_photos_before_it():
    def broken():
        yield "db/Ada.jpg"
        raise OSError("broken")

    photos = find_lone_folders(broken(), parts_of)[1]
    assert next(photos) == "db/Ada.jpg"
    with pytest.raises(OSError, match="broken"):
        next(photos)
