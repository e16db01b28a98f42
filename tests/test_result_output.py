"""Where results and pictures go: --output, --quiet, --jobs, names of pictures, and one photo that fails alone."""

import csv
import io
import json
import os
import tracemalloc
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from facedex import annotate, threads
from facedex.cli.result_output import results_to
from facedex.gallery.gallery import Gallery
from facedex.library.known_photos import known_photos
from facedex.photos import images
from facedex.photos.sources import named_photos
from facedex.recognition.identification import identify
from facedex.results import identify_json
from tests.helpers import lines, make_model, one_line, save_blank, save_face


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Nobody's settings, a folder of its own, and the number of workers as it was."""
    for variable in ("FACEDEX_GALLERY", "FACEDEX_MODEL", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    threads.use_workers(None)


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory):
    """A gallery g of Ada and Bob, by which everybody is named; their photos in db, and two of each in pairs."""
    folder = tmp_path_factory.mktemp("enrolled")
    for seed, name in enumerate(("Ada", "Bob")):
        save_face(folder / "db" / f"{name}.png", seed, side=120)
        for number, side in ((1, 120), (2, 140)):
            save_face(folder / "pairs" / name / f"{number}.png", seed, side=side)
    model = make_model(folder / "sure.safetensors", start=-1e4)
    with Gallery(folder / "g", model, create=True) as opened, named_photos([folder / "db"]) as (photos, _):
        assert [result.status for result in opened.enroll_all(photos)] == ["enrolled"] * 2
    return folder


# --output


def test_the_ending_of_the_output_chooses_the_form_and_stdout_stays_empty(run, enrolled, tmp_path):
    identify = ("identify", enrolled / "db", "-g", enrolled / "g")
    printed = {option: run(*identify, *option).out for option in ((), ("--json",), ("--csv",))}
    for name, option in (("a.txt", ()), ("a.json", ("--json",)), ("a.jsonl", ("--json",)), ("a.csv", ("--csv",))):
        done = run(*identify, "-o", name)
        assert (done.code, done.out, done.err) == (0, "", "")
        assert (tmp_path / name).read_text("utf-8") == printed[option]
    assert run(*identify, "--json", "-o", "b.csv").code == 0
    assert [line["faces"][0]["name"] for line in lines((tmp_path / "b.csv").read_text("utf-8"))] == ["Ada", "Bob"]


def test_every_command_with_results_writes_them_to_a_file(run, enrolled, tmp_path):
    pair = (enrolled / "db" / "Ada.png", enrolled / "db" / "Bob.png")
    for number, (arguments, field) in enumerate(
        [
            (("detect", *pair), "faces"),
            (("verify", *pair), "same"),
            (("list", "-g", enrolled / "g"), "name"),
            (("evaluate", enrolled / "pairs", "-m", "fast", "--jobs", 1), "protocol"),
            (("enroll", enrolled / "db", "-g", tmp_path / "new"), "status"),
        ]
    ):
        done = run(*arguments, "--output", f"{number}.json")
        assert done.out == ""
        found = lines((tmp_path / f"{number}.json").read_text("utf-8"))
        assert found
        assert all(field in line for line in found)


def test_an_exit_code_of_1_still_writes_the_file_and_an_error_leaves_it_as_it_was(run, enrolled, tmp_path):
    identify = ("identify", save_blank(tmp_path / "blank.png"), "-o", "a.json")
    assert run(*identify, "-g", enrolled / "g").code == 1
    before = (tmp_path / "a.json").read_text("utf-8")
    assert "no face" in json.loads(before)["error"]
    one_line(run(*identify, "-g", tmp_path / "none"), "no gallery")
    assert (tmp_path / "a.json").read_text("utf-8") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "blank.png"]


def test_an_output_that_cannot_be_written_is_one_line_before_the_work(run, enrolled, tmp_path):
    (tmp_path / "folder.json").mkdir()
    for output in ("folder.json", "none/a.json"):
        one_line(run("identify", enrolled / "db", "-g", enrolled / "g", "-o", output), output, "cannot be written")
    done = run("verify", enrolled / "db" / "Ada.png", enrolled / "db" / "Bob.png", "-o", "a.csv")
    assert done.code == 2
    assert "writes no CSV" in done.err
    assert not (tmp_path / "a.csv").exists()


# --quiet and --jobs


def test_quiet_leaves_out_notices_and_keeps_warnings_and_results(run, enrolled, tmp_path):
    save_blank(tmp_path / "db" / "Blank.png")
    save_face(tmp_path / "db" / "Ada.png", 0, side=120)
    loud = run("enroll", tmp_path / "db", "-g", "loud", "--json")
    done = run("enroll", tmp_path / "db", "-g", "g", "--json", "--quiet")
    assert "the gallery loud holds 1 person, 1 face" in loud.err
    assert "holds" not in done.err
    assert "skipped: " in done.err
    assert done.out == loud.out
    assert run("rename", "Ada", "Eve", "-g", "g", "-q").err == ""
    assert run("rename", "Eve", "Ada", "-g", "g").err == "Eve is now Ada\n"
    assert run("remove", "Ada", "-y", "-q", "-g", "g").err == ""
    one_line(run("rename", "Eve", "Ada", "-g", "g", "-q"), "'Eve'")


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_number_of_jobs_changes_no_answer(run, enrolled, tmp_path, jobs):
    identify = ("identify", *[enrolled / "db"] * 5, "-g", enrolled / "g", "--json")
    wanted = run(*identify).out
    assert run(*identify, "--jobs", jobs).out == wanted
    assert threads.workers() == jobs
    assert run("enroll", enrolled / "db", "-g", tmp_path / f"g{jobs}", "-j", jobs).code == 0


def test_no_jobs_at_all_are_refused(run):
    assert run("identify", "x", "--jobs", 0).code == 2


# pictures and patterns


def test_the_picture_of_a_photo_has_its_name_and_replaces_no_photo(run, enrolled, tmp_path):
    album = tmp_path / "album"
    for name in ("a.jpg", "b.png", "b.jpg"):
        save_face(album / name, 0, side=120)
    photos = {path: path.read_bytes() for path in sorted(album.iterdir())}
    for _ in range(2):  # the second run replaces the pictures of the first
        done = run("identify", *photos, "-g", enrolled / "g", "--annotate", album)
        assert done.code == 0
        names = sorted(path.name for path in album.iterdir())
        assert names == ["a-2.jpg", "a.jpg", "b-2.jpg", "b-3.jpg", "b.jpg", "b.png"]
    assert {path: path.read_bytes() for path in photos} == photos
    run("identify", album / "a.jpg", "-g", enrolled / "g", "--annotate", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("stem", ["x" * 251, "ü" * 125])
def test_the_longest_names_have_pictures_too(run, enrolled, tmp_path, stem):
    photo = save_face(tmp_path / f"{stem}.png", 0, side=120)
    for _ in range(2):
        done = run("identify", photo, photo, "-g", enrolled / "g", "--annotate", tmp_path / "out")
        assert done.code == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_picture_that_cannot_be_written_fails_alone(run, enrolled, tmp_path, monkeypatch):
    save = annotate.save_annotated

    def failing(photo, *arguments):
        if "Ada" in photo.photo:
            raise OSError(28, "No space left on device")
        return save(photo, *arguments)

    monkeypatch.setattr(annotate, "save_annotated", failing)
    done = run("identify", enrolled / "db", "-g", enrolled / "g", "--annotate", tmp_path / "out", "--json")
    assert done.code == 1
    assert len(lines(done.out)) == 2
    assert "not annotated: " in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Bob.jpg"]


def test_crops_that_cannot_be_written_fail_alone(run, enrolled, tmp_path, monkeypatch):
    save = annotate.save_crops

    def failing(source, crops, folder):
        if "Ada" in source:
            raise OSError(28, "No space left on device")
        return save(source, crops, folder)

    monkeypatch.setattr(annotate, "save_crops", failing)
    done = run("detect", enrolled / "db", "--crops", tmp_path / "out", "--json")
    assert done.code == 1
    assert [line["faces"][0]["crop"] for line in lines(done.out)] == [None, str(tmp_path / "out" / "Bob-1.png")]
    assert "not cut out: " in done.err


def test_a_pattern_among_others_that_matches_nothing_fails_alone(run, enrolled):
    done = run("identify", enrolled / "db" / "Ada.png", "nothere[1].jpg", "-g", enrolled / "g", "--json")
    assert done.code == 1
    good, bad = lines(done.out)
    assert good["faces"][0]["name"] == "Ada"
    assert bad["photo"] == "nothere[1].jpg"
    assert "does not exist" in bad["error"]


def test_the_font_of_pictures(run, enrolled, tmp_path):
    photo = enrolled / "db" / "Ada.png"
    (tmp_path / "x.ttf").write_bytes(b"no font")
    one_line(run("identify", photo, "-g", enrolled / "g", "--annotate", "out", "--font", "x.ttf"), "x.ttf")
    assert not (tmp_path / "out").exists()
    assert run("identify", photo, "-g", enrolled / "g", "--font", "x.ttf").code == 2
    font = Path(annotate.__file__).parent / "fonts" / "DejaVuSans.ttf"
    assert run("identify", photo, "-g", enrolled / "g", "--annotate", "out", "--font", font).code == 0
    with Image.open(tmp_path / "out" / "Ada.jpg") as picture:
        assert picture.format == "JPEG"


def test_letters_that_no_font_has_are_named(run, enrolled, tmp_path, monkeypatch):
    from facedex.fonts import lettering

    monkeypatch.setattr(lettering, "font_folders", list)
    run("enroll", enrolled / "db" / "Ada.png", "--name", "山田", "-g", "g", "-m", enrolled / "sure.safetensors")
    done = run("identify", enrolled / "db" / "Ada.png", "-g", "g", "--annotate", "out")
    assert done.code == 0
    assert "山 田" in done.err
    assert "--font FILE" in done.err


# the terminal and spreadsheets


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such file names")
def test_file_names_cannot_command_the_terminal(run, enrolled, tmp_path):
    bad, blank = "\x1b[31m[bold]red\u202e.png", "=\x1b]0;title\x07.png"
    save_face(tmp_path / bad, 0, side=120)
    save_blank(tmp_path / blank)
    for command, where in (("identify", ("-g", enrolled / "g")), ("detect", ())):
        table = run(command, bad, blank, *where)
        assert not set("\x1b\x07\u202e") & set(table.out + table.err)
        assert "\\x1b[31m[bold]red\\u202e.png" in table.out
        assert "skipped: =\\x1b]0;title\\x07.png" in table.err
        found = run(command, bad, blank, *where, "--csv").out
        assert "\x1b" not in found
        assert [row[0] for row in list(csv.reader(io.StringIO(found)))[1:]] == [
            "\\x1b[31m[bold]red\\u202e.png",
            "'=\\x1b]0;title\\x07.png",
        ]
        assert [line["photo"] for line in lines(run(command, bad, blank, *where, "--json").out)] == [bad, blank]


@pytest.mark.parametrize("name", ["=1+1", "+Ada", "-Ada", "@Ada"])
def test_names_that_begin_a_formula_are_defused_in_csv_alone(run, enrolled, name):
    run("enroll", enrolled / "db" / "Ada.png", f"--name={name}", "-g", "g")
    assert [row[0] for row in list(csv.reader(io.StringIO(run("list", "-g", "g", "--csv").out)))[1:]] == [f"'{name}"]
    assert [line["name"] for line in lines(run("list", "-g", "g", "--json").out)] == [name]
    assert name in run("list", "-g", "g").out


# galleries


def test_an_enrolment_of_nothing_leaves_nothing(run, tmp_path):
    (tmp_path / "empty").mkdir()
    import tarfile

    tarfile.open(tmp_path / "empty.tar", "w").close()
    for arguments in (("empty",), ("empty", "empty"), ("empty.tar",), ("empty", "--name", "Ada"), ("none",)):
        done = run("enroll", *arguments, "-g", "g")
        assert done.code == 2
        assert not (tmp_path / "g").exists()


def test_doctor_finds_a_restored_and_a_new_gallery_sound(run, enrolled, tmp_path):
    run("enroll", enrolled / "db", "-g", "g")
    assert run("backup", "b", "-g", "g").code == 0
    for _ in range(2):
        assert run("restore", "b", "--force", "-g", "g").code == 0
        done = run("doctor", "-g", "g")
        assert done.code == 0, done.out
    run("enroll", enrolled / "db", "-g", "new")
    assert run("doctor", "-g", "new").code == 0


# A whole library


def test_results_for_a_file_do_not_fill_the_memory(tmp_path):
    tracemalloc.start()
    with results_to(tmp_path / "out.json"):
        for _ in range(2_000):
            print("x" * 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out.json").stat().st_size == 20_002_000
    assert peak < 4_000_000


@pytest.mark.parametrize(("form", "lines_before"), [("--json", 1), ("--csv", 2)])
def test_results_of_a_library_come_as_they_are_known(run, enrolled, tmp_path, monkeypatch, form, lines_before):
    for number in range(60):
        (tmp_path / f"{number:02d}.jpg").write_bytes(b"\xff\xd8 no picture")
    read, real = [], images.read_bytes
    monkeypatch.setattr(images, "read_bytes", lambda path: read.append(path) or real(path))
    written = []

    class Stdout(io.StringIO):
        def write(self, text):
            written.extend(len(read) for _ in range(text.count("\n")))
            return super().write(text)

    with redirect_stdout(Stdout()):
        run("identify", tmp_path, form, "-g", enrolled / "g")
    assert len(written) == 59 + lines_before
    assert written[lines_before - 1] <= 20


def test_memory_is_bounded_whatever_the_number_of_photos(enrolled, tmp_path, caplog):
    caplog.set_level("CRITICAL", "facedex")  # pytest keeps what is logged

    def peak(photos):
        tracemalloc.start()
        with Gallery(enrolled / "g") as opened:
            given = (str(tmp_path / f"{number}.jpg") for number in range(photos))
            assert sum(bool(identify_json(photo)["error"]) for photo in identify(opened, known_photos(opened, given)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # what is loaded once
    assert peak(2_000) < peak(200) + 1_000_000
