"""Names that every file system takes, and a folder for each person that is nobody else's."""

import unicodedata

import pytest

from facedex.library.safe_names import PersonFolders, name_key, safe_file, safe_name
from facedex.photos.listing import is_leftover

NAMES = [
    "Ada Lovelace", "AC/DC", "a\\b", 'x<>:"|?*y', "Sammy Davis Jr.", "dots...", ".hidden", "..", ".", "con", "NUL.txt",
    "Com1 .x", "lpt\u00b2", "Thumbs", "lost+found", "\x1b[31mred", "\u202eevil", "a\nb", "Zoë", "山田 太郎", "ẞß",
    "x" * 300, "é" * 200, "ΐ" * 127, "👩‍👩‍👧‍👦" * 30, "\udcff", "_", "CONIN$", "名" * 90 + ".", "a" * 254 + ". b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_safe_name_is_safe_everywhere(name):
    for safe in (safe_name(name), safe_file(f"{name}.jpg"), safe_file(f"{name}.jpg", 12), safe_file(name, 2)):
        assert len(safe.encode()) <= 255
        assert len(unicodedata.normalize("NFD", safe).encode("utf-16-le")) <= 2 * 255
        assert not set(safe) & set('<>:"/\\|?*')
        assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in safe)
        assert safe == safe.strip(" ").rstrip(".") == unicodedata.normalize("NFC", safe)
        assert safe not in ("", ".", "..")
        assert not is_leftover(safe)
        assert safe.split(".")[0].strip().upper() not in {"CON", "NUL", "COM1", "LPT\u00b2", "CONIN$"}
        assert len(f"{safe}.xmp".encode()) <= 255 or safe == safe_name(name)


def test_ordinary_names_stay_as_they_are():
    for name in ("Ada Lovelace", "山田 太郎", "Zoë O'Neill-Smith", "Connie", "COM", "نیلوفر\u200cها"):
        assert safe_name(name) == name
    assert safe_file("IMG_0001.JPG") == "IMG_0001.JPG"
    assert safe_file("IMG_0001.JPG", 2) == "IMG_0001 (2).JPG"
    assert safe_name("Sammy Davis Jr.") == "Sammy Davis Jr"


def test_keys_are_equal_for_what_some_file_system_takes_for_one():
    for a, b in (("Ada", "ADA"), ("Zoe\u0308", "Zoë"), ("Straße", "STRASSE"), ("ıI", "Iı"), ("a\u200cb", "ab")):
        assert name_key(a) == name_key(b)
    assert name_key("Ada") != name_key("Adam")


def test_each_person_has_a_folder_of_their_own_whatever_the_order():
    people = ["Ada", "ADA", "AC/DC", "AC:DC", "unknown.", "Unknown?", "Zoë", "Bob", "n" * 300, "n" * 301]
    folders = {name: PersonFolders(people).of(name) for name in people}
    assert len({name_key(folder) for folder in folders.values()}) == len(people)
    assert folders["Bob"] == "Bob"
    assert "unknown" not in {name_key(folder).casefold() for folder in folders.values()}
    backwards = PersonFolders(people[::-1])
    assert {name: backwards.of(name) for name in people} == folders
    assert all(folders[name].startswith(start) for name, start in (("Ada", "Ada ("), ("ADA", "ADA (")))


def test_a_person_who_comes_later_gets_nobody_elses_folder():
    folders = PersonFolders(["Ada"])
    assert folders.of("Ada") == "Ada"
    assert folders.of("ADA").startswith("ADA (")
    assert folders.of("Eve") == "Eve"
