"""Names embedded in photo files, which a gallery still knows afterwards without another look."""

import os
import shutil

import pytest

from facedex.errors import MissingProgram
from facedex.gallery.gallery import Gallery
from facedex.library import exchange
from facedex.library.exchange import embed_in_photos, with_names
from facedex.library.groups import cluster
from facedex.library.known_photos import known_photos
from facedex.library.scan import list_photos, scan, vanished
from facedex.library.sidecars import read_names, write_names
from facedex.photos import images
from facedex.recognition.identification import identify
from facedex.results import identify_json
from tests.helpers import assert_fields_described, lines, one_line, save_blank, save_face

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="needs exiftool; it comes from https://exiftool.org or the system's packages",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Photos: one person alone and with another, a third with a copy, and nobody."""
    photos = tmp_path_factory.mktemp("embedding")
    save_face(photos / "one.jpg", 1)
    save_face(photos / "both.jpg", 1, 2)
    save_face(photos / "three.jpg", 3)
    shutil.copyfile(photos / "three.jpg", photos / "three copy.jpg")
    save_blank(photos / "nobody.png")
    return photos


@pytest.fixture
def library(base, tmp_path):
    """A scanned and grouped gallery of its own for each test, and its photos."""
    shutil.copytree(base, tmp_path / "photos", copy_function=shutil.copy2)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        list(scan(opened, list_photos(tmp_path / "photos")))
        cluster(opened)
        yield opened, tmp_path / "photos"


def name(opened, photo, person, face=0):
    with opened.changing_library() as store:
        faces = store.library.faces_of_photo(store.library.file(str(photo)).photo)
        store.name_scanned(person, [], [int(faces.ids[face])])


def embed(opened):
    return {os.path.basename(one.photo): one for one in embed_in_photos(opened, sorted(opened.library.files()))}


def state(opened):
    """What is kept of every face: id, group, person and name."""
    faces = opened.library.faces()
    return list(zip(faces.ids.tolist(), faces.groups.tolist(), faces.people.tolist(), faces.names, strict=True))


def test_a_photo_stays_known_with_its_faces_groups_and_names(library, monkeypatch):
    opened, photos = library
    opened.enroll("Ada", photos / "one.jpg")
    name(opened, photos / "both.jpg", "Bob", 1)
    before, pixels = state(opened), images.read_photo(photos / "one.jpg")
    stamp, content = (photos / "one.jpg").stat(), (photos / "three.jpg").read_bytes()
    done = embed(opened)
    assert {key: (one.names, one.changed, one.error) for key, one in done.items()} == {
        "one.jpg": (("Ada",), True, None),
        "both.jpg": (("Bob",), True, None),
    }
    assert [region.name for region in read_names(photos / "one.jpg").regions] == ["Ada"]
    assert (images.read_photo(photos / "one.jpg") == pixels).all()
    assert (photos / "one.jpg").stat().st_mtime_ns // 10**9 == stamp.st_mtime_ns // 10**9
    assert (photos / "three.jpg").read_bytes() == content
    assert state(opened) == before
    monkeypatch.setattr(opened, "reader", lambda device: pytest.fail("a photo was looked at again"))
    assert {one.status for one in scan(opened, list_photos(photos))} == {"known"}
    assert opened.library.damaged() == []
    (enrolled,) = opened.enrolled_photos("Ada")[1]
    assert enrolled.photo == images.sha256((photos / "one.jpg").read_bytes())
    assert opened.vanished(photos) == []
    assert not vanished(opened.library, photos)
    assert {one.changed for one in embed(opened).values()} == {False}


def test_answers_afterwards_are_those_of_a_fresh_look(library):
    opened, photos = library
    opened.enroll("Ada", photos / "one.jpg")
    embed(opened)
    paths = list_photos(photos)
    known, fresh = (list(map(identify_json, identify(opened, given))) for given in (known_photos(opened, paths), paths))
    assert known == fresh


def test_copies_of_a_photo_all_keep_its_names(library, monkeypatch):
    opened, photos = library
    name(opened, photos / "three.jpg", "Cy")
    done = embed(opened)
    assert [one.changed for one in done.values()] == [True, True]
    monkeypatch.setattr(opened, "reader", lambda device: pytest.fail("a photo was looked at again"))
    assert {one.status for one in scan(opened, list_photos(photos))} == {"known"}
    named = opened.library.faces_named("Cy")
    sources = opened.library.sources(named.photos.tolist())
    assert sum(len(files) for files in sources.values()) == 2
    assert opened.library.counts().files == 5
    assert opened.library.damaged() == []


def test_a_copy_that_is_left_alone_keeps_its_own_content(library):
    opened, photos = library
    name(opened, photos / "three.jpg", "Cy")
    (done,) = embed_in_photos(opened, [str(photos / "three.jpg")])
    assert done.changed
    assert {one.status for one in scan(opened, list_photos(photos))} == {"known"}
    assert len(opened.library.faces_named("Cy")) == 2
    groups = {face[1] for face in state(opened) if face[3] == "Cy"}
    assert len(groups) == 1


def test_a_face_that_a_copy_enrolled_keeps_its_name(library, tmp_path):
    opened, photos = library
    shutil.copyfile(photos / "one.jpg", tmp_path / "elsewhere.jpg")
    opened.enroll("Ada", tmp_path / "elsewhere.jpg")
    assert embed(opened)["one.jpg"].names == ("Ada",)
    assert embed(opened)["one.jpg"].names == ("Ada",)
    assert [photo.photo for photo in opened.enrolled_photos("Ada")[1]] == [
        images.sha256((tmp_path / "elsewhere.jpg").read_bytes())
    ]


def test_a_name_that_is_taken_back_goes_out_of_the_file(library):
    opened, photos = library
    name(opened, photos / "three.jpg", "Cy")
    embed(opened)
    opened.undo()
    assert embed(opened)["three.jpg"].changed
    assert read_names(photos / "three.jpg").regions == ()


def test_a_photo_that_changed_since_the_scan_is_left_as_it_is(library):
    opened, photos = library
    name(opened, photos / "one.jpg", "Ada")
    name(opened, photos / "both.jpg", "Bob", 1)
    content = save_face(photos / "one.jpg", 9).read_bytes()
    (photos / "both.jpg").unlink()
    done = embed(opened)
    assert "facedex scan" in done["one.jpg"].error
    assert done["both.jpg"].error
    assert (photos / "one.jpg").read_bytes() == content


def test_a_kill_between_file_and_gallery_loses_no_name(library, monkeypatch):
    opened, photos = library
    name(opened, photos / "one.jpg", "Ada")
    with monkeypatch.context() as patched:
        patched.setattr(exchange, "_follow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(opened)
    assert [region.name for region in read_names(photos / "one.jpg").regions] == ["Ada"]
    assert {one.status for one in scan(opened, [str(photos / "one.jpg")])} == {"changed"}
    assert len(opened.library.faces_named("Ada")) == 1
    assert not embed(opened)["one.jpg"].changed


def test_the_command_asks_and_says_what_it_did(run, library, monkeypatch):
    opened, photos = library
    name(opened, photos / "one.jpg", "Ada")
    write_names(photos / "both.jpg", [(next(iter(boxes(opened, photos / "both.jpg"))), "Eve")])
    name(opened, photos / "both.jpg", "Bob")
    options = ("export", "--embed", "--gallery", opened.folder)
    before = (photos / "one.jpg").read_bytes()
    done = run(*options)
    assert done.code == 2
    assert "Write names into 2 photo files? The files change, and their pixels stay. [y/N]" in done.err
    assert (photos / "one.jpg").read_bytes() == before
    opens, make = [], Gallery.__init__
    monkeypatch.setattr(Gallery, "__init__", lambda *given, **options: opens.append(given) or make(*given, **options))
    done = run(*options, photos / "one.jpg", "--json", stdin="yes\n")
    assert done.code == 0
    assert len(opens) == 1
    assert "1 photo file written" in done.err
    assert_fields_described(lines(done.out), "export")
    assert lines(done.out)[0]["file"] == str(photos / "one.jpg")
    done = run(*options, "--yes")
    assert "?" not in done.err
    assert run(*options, "--xmp").code == 2
    assert "--xmp or --embed" in run("export", "--gallery", opened.folder).err


def boxes(opened, photo):
    faces = opened.library.faces_of_photo(opened.library.file(str(photo)).photo)
    return [faces.box(row) for row in range(len(faces))]


def test_without_exiftool_nobody_is_asked(run, library, monkeypatch):
    opened, photos = library
    name(opened, photos / "one.jpg", "Ada")
    assert with_names(opened, sorted(opened.library.files())) == [str(photos / "one.jpg")]
    monkeypatch.setenv("PATH", str(photos))
    one_line(run("export", "--embed", "--gallery", opened.folder), "exiftool.org")
    with pytest.raises(MissingProgram):
        embed(opened)
