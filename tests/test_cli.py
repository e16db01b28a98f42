"""The command line as a contract: exit codes, JSON, CSV, what goes to which stream, and names of every kind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facedex import cli
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import named_photos
from tests.helpers import (
    assert_fields_described,
    drawn_face,
    gallery,
    lines,
    make_model,
    one_line,
    other_encoder,
    people,
    rows,
    save_blank,
    save_face,
    unit,
)

pytestmark = pytest.mark.usefixtures("elsewhere")

IDENTIFIED = [
    "photo",
    "face",
    "left",
    "top",
    "width",
    "height",
    "name",
    "similarity",
    "probability",
    "logit",
    "best_candidate",
    "error",
    "reason",
]
ODD_NAMES = [
    "Ada [1]",
    "[bold]Bob[/bold]",
    "\\[red]Cy",
    "[/]",
    ":smile: Dee",
    "É. Ñandú",
    "山田 太郎",
    "😀 Fay",
    "محمد",
    'O\'Neil "Q", Gus',
    "a;b\\",
    "--json",
    "x" * 70,
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two of one encoder: by `sure` everybody is named, by `never` nobody."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: make_model(folder / f"{name}.safetensors", start=start)
        for name, start in (("sure", -1e4), ("never", 1e4))
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, models):
    """Three people's photos and a gallery of them, by whose model everybody is named: to be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    for seed, name in enumerate(("Ada", "Bob", "Cy")):
        save_face(folder / "database" / f"{name}.png", seed)
    with (
        Gallery(folder / "g", models["sure"], create=True) as opened,
        named_photos([folder / "database"]) as (photos, _),
    ):
        assert [result.status for result in opened.iter_enroll(photos)] == ["enrolled"] * 3
    return folder


@pytest.fixture
def database(tmp_path, prepared):
    return Path(shutil.copytree(prepared / "database", tmp_path / "database"))


@pytest.fixture
def enrolled(tmp_path, prepared):
    return Path(shutil.copytree(prepared / "g", tmp_path / "g"))


# the main job


def test_from_photos_to_names_with_the_shipped_model(run, tmp_path, database):
    assert run("enroll", database).code == 0
    done = run("identify", database / "Bob.png", "--json")
    assert done.code == 0
    assert lines(done.out)[0]["faces"][0]["name"] == "Bob"
    assert (tmp_path / "here" / "index" / "gallery.db").exists()


def test_results_go_to_stdout_and_notices_to_stderr(run, tmp_path, database):
    done = run("enroll", database, "-g", tmp_path / "g")
    assert done.out == ""
    assert "3 enrolled" in done.err
    assert "3 people, 3 faces" in done.err
    save_blank(tmp_path / "blank.png")
    done = run("identify", tmp_path / "blank.png", "-g", tmp_path / "g", "--json")
    assert "skipped" in done.err
    assert "skipped" not in done.out


# enroll


def test_enroll_json(run, tmp_path, database):
    save_blank(database / "Blank.png")
    done = run("enroll", database, "-g", tmp_path / "g", "--json")
    assert done.code == 1
    found = lines(done.out)
    assert all(list(line) == ["photo", "name", "status", "reason"] for line in found)
    found = [line for line in found if line["status"] != "suspicious"]  # drawn faces resemble each other
    assert [(line["name"], line["status"]) for line in found] == [
        ("Ada", "enrolled"),
        ("Blank", "skipped"),
        ("Bob", "enrolled"),
        ("Cy", "enrolled"),
    ]
    assert found[0]["photo"] == str(database / "Ada.png")
    assert found[0]["reason"] is None
    assert "face" in found[1]["reason"]


def test_enroll_csv(run, tmp_path, database):
    done = run("enroll", database, "-g", tmp_path / "g", "--csv")
    assert rows(done.out) == [
        ["photo", "name", "status", "reason"],
        *[[str(database / f"{name}.png"), name, "enrolled", ""] for name in ("Ada", "Bob", "Cy")],
    ]


def test_photos_already_known_are_no_fault(run, enrolled, database):
    done = run("enroll", database, "-g", enrolled, "--json")
    assert done.code == 0
    assert {line["status"] for line in lines(done.out)} == {"known"}
    assert "3 known" in done.err


def test_a_conflict_is_reported(run, enrolled, database):
    done = run("enroll", database / "Ada.png", "--name", "Eve", "-g", enrolled, "--json")
    assert done.code == 1
    assert lines(done.out)[0]["status"] == "conflict"
    assert "'Ada'" in done.err
    assert "1 conflict" in done.err


def test_strict_skips_photos_of_several(run, tmp_path):
    photo = save_face(tmp_path / "two.png", 1, 2)
    done = run("enroll", photo, "--name", "Ada", "-g", tmp_path / "g", "--strict", "--json")
    assert done.code == 1
    assert lines(done.out)[0]["status"] == "skipped"
    assert "--strict" in done.err
    done = run("enroll", photo, "--name", "Ada", "-g", tmp_path / "g", "--json")
    assert done.code == 0
    assert lines(done.out)[0]["status"] == "enrolled"
    assert "2 faces" in done.err


def test_another_face_is_enrolled_by_its_number(run, tmp_path, models):
    photo = save_face(tmp_path / "two.png", 1, 2)
    where = ("-g", tmp_path / "g", "--json")
    for name, number in (("Ada", 1), ("Bob", 2)):
        done = run("enroll", photo, "--name", name, "--face", number, "-m", models["sure"], *where)
        assert done.code == 0
        assert lines(done.out)[0]["status"] == "enrolled"
    (found,) = lines(run("identify", photo, *where).out)
    assert [face["name"] for face in found["faces"]] == ["Ada", "Bob"]
    (listed,) = lines(run("detect", photo, "--json").out)
    assert [face["box"] for face in listed["faces"]] == [face["box"] for face in found["faces"]]
    done = run("enroll", photo, "--name", "Cy", "--face", 3, *where)
    assert done.code == 1
    assert "shows 2 faces and has no face 3" in done.err
    assert "facedex detect" in done.err
    done = run("enroll", photo, "--name", "Cy", *where)
    assert done.code == 1
    assert "'Ada'" in done.err
    assert "--face N" in done.err


@pytest.mark.parametrize("extra", [(), ("--name", "Ada", "--strict"), ("--update",)])
def test_a_face_by_its_number_is_one_persons(run, tmp_path, database, extra):
    done = run("enroll", database, "--face", 2, *extra, "-g", tmp_path / "g")
    assert done.code == 2
    assert "--name" in done.err
    assert not (tmp_path / "g").exists()


def test_what_enroll_cannot_use_is_one_line(run, tmp_path, database):
    (tmp_path / "empty").mkdir()
    where = ("-g", tmp_path / "g")
    one_line(run("enroll", tmp_path / "gone", *where), "does not exist")
    one_line(run("enroll", tmp_path / "empty", *where), "no photos")
    one_line(run("enroll", database / "Ada.png", *where), "--name")
    for name in ("unknown", "UNKNOWN", " ", "a\nb"):
        one_line(run("enroll", database, "--name", name, *where), "cannot be a person's name")


def test_a_folder_called_unknown_is_skipped_and_the_rest_enrolled(run, tmp_path, database):
    save_face(database / "Unknown" / "a.png", 5)
    done = run("enroll", database, "-g", tmp_path / "g")
    assert done.code == 1
    assert "3 enrolled, 1 skipped" in done.err
    assert "answer for strangers" in done.err


def test_an_empty_folder_among_others_is_a_notice(run, tmp_path, database):
    (tmp_path / "empty").mkdir()
    done = run("enroll", tmp_path / "empty", database, "-g", tmp_path / "g")
    assert done.code == 0
    assert f"{tmp_path / 'empty'} holds no photos" in done.err
    assert "3 enrolled" in done.err
    done = run("enroll", tmp_path / "empty", database / "Ada.png", "--name", "Ada", "-g", tmp_path / "g")
    assert done.code == 0
    assert "holds no photos" in done.err
    done = run("identify", tmp_path / "empty", database / "Ada.png", "-g", tmp_path / "g", "--json")
    assert "holds no photos" in done.err
    assert len(lines(done.out)) == 1
    for command in ("enroll", "identify"):
        done = run(command, tmp_path / "empty", tmp_path / "empty", "-g", tmp_path / "g")
        assert done.code == 2
        assert "Traceback" not in done.err


# identify


def test_identify_json(run, enrolled, database):
    done = run("identify", database / "Ada.png", database / "gone.png", "-g", enrolled, "--top", 2, "--json")
    assert done.code == 1
    good, bad = lines(done.out)
    assert list(good) == list(bad) == ["photo", "faces", "copies", "error", "remark", "decision"]
    assert good["photo"] == str(database / "Ada.png")
    assert good["error"] is None
    (face,) = good["faces"]
    assert list(face) == [
        "box",
        "score",
        "name",
        "named_by",
        "similarity",
        "probability",
        "logit",
        "candidates",
        "quality",
        "reason",
        "warning",
    ]
    assert good["decision"]["fpir"] == pytest.approx(0.01)
    assert good["decision"]["people"] > 0
    assert bad["decision"] is None
    left, top, width, height = face["box"]
    assert 0 < left < left + width < 240
    assert 0 < top < top + height < 240
    assert 0.6 <= face["score"] <= 1
    assert face["name"] == "Ada"
    assert [list(candidate) for candidate in face["candidates"]] == [["name", "similarity", "probability", "logit"]] * 2
    first = face["candidates"][0]
    assert (first["name"], first["similarity"], first["probability"]) == (
        "Ada",
        face["similarity"],
        face["probability"],
    )
    assert bad["faces"] == []
    assert "does not exist" in bad["error"]


def test_json_has_the_fields_that_are_documented(run, enrolled, database):
    commands = {
        "enroll": (database,),
        "identify": (database / "Ada.png", "--top", 2),
        "list": (),
        "doctor": (),
        "verify": (database / "Ada.png", database / "Bob.png"),
    }
    for command, arguments in commands.items():
        where = () if command == "verify" else ("-g", enrolled)
        printed = lines(run(command, *arguments, *where, "--json").out)
        for line in printed:
            assert_fields_described([line], command)


def test_identify_csv(run, enrolled, database, tmp_path):
    save_face(tmp_path / "two.png", 1, 2)
    done = run("identify", tmp_path / "two.png", tmp_path / "gone.png", "-g", enrolled, "--csv")
    header, *found = rows(done.out)
    assert header == IDENTIFIED
    assert len(found) == 3
    first = dict(zip(header, found[0], strict=True))
    assert (first["photo"], first["face"], first["error"]) == (str(tmp_path / "two.png"), "1", "")
    assert first["name"] == first["best_candidate"] != ""
    assert all(first[key].lstrip("-").isdigit() for key in header[2:6])
    last = dict(zip(header, found[2], strict=True))
    assert last["photo"] == str(tmp_path / "gone.png")
    assert "does not exist" in last["error"]
    assert last["name"] == ""


def test_identify_table(run, enrolled, database, tmp_path):
    done = run("identify", database, "-g", enrolled, "--top", 3)
    assert done.code == 0
    for name in ("Ada", "Bob", "Cy"):
        assert name in done.out
        assert str(database / f"{name}.png")[-20:] in done.out
    assert "next candidates" in done.out
    assert done.err == ""


def test_a_stranger_is_unknown_and_nobody_recognised_is_exit_1(run, database, tmp_path, models):
    run("enroll", database, "-g", tmp_path / "g", "-m", models["never"])
    done = run("identify", database / "Ada.png", "-g", tmp_path / "g", "--json")
    (face,) = lines(done.out)[0]["faces"]
    assert done.code == 1
    assert face["name"] is None
    assert face["candidates"][0]["name"] == "Ada"
    assert "unknown" in run("identify", database / "Ada.png", "-g", tmp_path / "g").out
    header, row = rows(run("identify", database / "Ada.png", "-g", tmp_path / "g", "--csv").out)
    assert dict(zip(header, row, strict=True))["name"] == ""
    assert dict(zip(header, row, strict=True))["best_candidate"] == "Ada"


def test_identify_exit_codes(run, enrolled, database, tmp_path):
    blank = save_blank(tmp_path / "blank.png")
    assert run("identify", database, "-g", enrolled).code == 0
    assert run("identify", database, blank, "-g", enrolled).code == 1
    assert run("identify", blank, "-g", enrolled).code == 1
    one_line(run("identify", database, "-g", tmp_path / "none"), "no gallery", "facedex enroll")


def test_an_empty_gallery_says_so(run, enrolled, database):
    run("remove", "Ada", "Bob", "Cy", "-y", "-g", enrolled)
    done = run("identify", database / "Ada.png", "-g", enrolled, "--json")
    assert done.code == 1
    assert "nobody is enrolled" in done.err
    assert lines(done.out)[0]["faces"][0]["candidates"] == []


def test_the_index_and_the_exhaustive_answer_agree(run, enrolled, database):
    arguments = ("identify", database, "-g", enrolled, "--json", "--top", 3)
    assert run(*arguments).out == run(*arguments, "--exhaustive").out


def test_annotate_writes_a_picture_for_every_photo_with_faces(run, enrolled, database, tmp_path):
    twin = save_face(tmp_path / "other" / "Ada.png", 2)
    blank = save_blank(tmp_path / "blank.png")
    run("identify", database / "Ada.png", twin, blank, "-g", enrolled, "--annotate", tmp_path / "out" / "deep")
    pictures = sorted((tmp_path / "out" / "deep").iterdir())
    assert [path.name for path in pictures] == ["Ada-2.jpg", "Ada.jpg"]
    for path, seed in zip(pictures, (2, 0), strict=True):
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            shown = np.asarray(picture.resize((240, 240)), float)
        # The face is still there, and something was drawn round it.
        assert np.abs(shown[100:150, 90:150] - drawn_face(seed)[100:150, 90:150]).mean() < 25
        assert (np.abs(shown - drawn_face(seed)).max(-1) > 60).mean() > 0.01


def test_a_folder_for_pictures_that_cannot_be_made_is_one_line(run, enrolled, database, tmp_path):
    (tmp_path / "file").touch()
    done = run("identify", database / "Ada.png", "-g", enrolled, "--annotate", tmp_path / "file")
    one_line(done, "cannot be written")


def test_a_threshold_by_hand_tells_what_it_stands_for(run, enrolled, database):
    low, high = (run("identify", database / "Ada.png", "-g", enrolled, "--threshold", value) for value in (-1e9, 1000))
    assert low.code == 0
    assert "threshold -1e+09: 100 % of strangers would be named among" in low.err
    assert high.code == 1
    assert "threshold 1000: " in high.err
    assert "unknown" in high.out
    wrong = run("identify", database / "Ada.png", "-g", enrolled, "--threshold", "nan")
    assert wrong.code == 2
    assert "--threshold" in wrong.err


def test_nobody_is_twice_in_a_photo_unless_allowed(run, enrolled, database, tmp_path):
    from PIL import Image

    from tests.helpers import drawn_face

    ada = np.asarray(Image.open(database / "Ada.png"))
    assert ada.shape == drawn_face(0).shape
    Image.fromarray(np.concatenate([ada, np.full_like(ada, 128), ada], 1)).save(tmp_path / "two.png")
    arguments = ("identify", tmp_path / "two.png", "-g", enrolled, "--threshold", -1000, "--json")
    names = [
        [face["name"] for face in lines(run(*arguments, *more).out)[0]["faces"]] for more in ((), ("--allow-repeat",))
    ]
    assert len(set(names[0])) == 2
    assert names[1] == ["Ada", "Ada"]


# verify and evaluate


def test_verify_says_same_or_different(run, database, models):
    pair = (database / "Ada.png", database / "Bob.png")
    same, different = (run("verify", *pair, "-m", models[name], "--json") for name in ("sure", "never"))
    assert (same.code, different.code) == (0, 1)
    for done, answer in ((same, True), (different, False)):
        (found,) = lines(done.out)
        fields = ["same", "similarity", "probability", "logit", "threshold", "fmr", "remarks", "warnings"]
        assert list(found) == fields
        assert found["same"] is answer
        assert (found["logit"] >= found["threshold"]) is answer
        assert found["fmr"] == 0.001
    assert "the same person" in run("verify", *pair, "-m", models["sure"]).out
    assert "different people" in run("verify", *pair, "-m", models["never"]).out
    assert "probability" not in run("verify", *pair, "-m", models["sure"]).out
    assert "where 0.1 % of pairs are" in run("verify", *pair, "-m", models["sure"], "--prior", "0.001").out


def test_what_verify_cannot_use_is_one_line(run, database, tmp_path):
    blank = save_blank(tmp_path / "blank.png")
    one_line(run("verify", database / "Ada.png", tmp_path / "gone.png"), "gone.png", "does not exist")
    one_line(run("verify", blank, database / "Ada.png"), "no face")
    one_line(run("verify", database / "Ada.png", database / "Bob.png", "-m", tmp_path / "no.safetensors"), "no model")


@pytest.fixture
def pairs(tmp_path):
    """Ten people with two photos each, and ten pairs of either kind."""
    for seed in range(10):
        for number, side in ((1, 240), (2, 200)):
            save_face(tmp_path / "lfw" / f"p{seed}" / f"p{seed}_{number:04d}.png", seed, side=side)
    text = ["10", *[f"p{i}\t1\t2" for i in range(10)], *[f"p{i}\t1\tp{(i + 1) % 10}\t2" for i in range(10)]]
    (tmp_path / "pairs.txt").write_text("\n".join(text))
    return tmp_path / "pairs.txt"


def test_evaluate_json(run, pairs, tmp_path):
    done = run("evaluate", pairs, "--images", tmp_path / "lfw", "--json")
    (found,) = lines(done.out)
    assert done.code == 0
    assert {"protocol", "pairs", "accuracy", "accuracy_se", "tar", "auc"} <= set(found)
    assert found["protocol"] == "pairs"
    assert found["pairs"] == 20
    assert list(found["tar"]) == ["0.1", "0.01", "0.001"]
    assert all(0 <= value <= 1 for value in (found["accuracy"], found["auc"], *found["tar"].values()))


def test_evaluate_table_and_photos_without_a_face(run, pairs, tmp_path):
    save_blank(tmp_path / "lfw" / "p3" / "p3_0001.png")
    done = run("evaluate", pairs, "--images", tmp_path / "lfw")
    assert done.code == 1
    assert "ten-fold accuracy" in done.out
    assert "p3/p3_0001" in done.err


def test_what_evaluate_cannot_use_is_one_line(run, pairs, tmp_path):
    one_line(run("evaluate", tmp_path / "gone.txt", "--images", tmp_path), "no pairs file")
    one_line(run("evaluate", pairs, "--images", tmp_path), "does not exist", "--images")
    (tmp_path / "few.txt").write_text("1\np0\t1\t2\np0\t1\tp1\t1\n")
    one_line(run("evaluate", tmp_path / "few.txt", "--images", tmp_path / "lfw"), "few.txt", "add pairs")


# people


def test_list_in_every_form(run, enrolled, database):
    run("enroll", save_face(database / "x" / "more.png", 9), "--name", "Ada", "-g", enrolled)
    done = run("list", "-g", enrolled, "--json")
    found = lines(done.out)
    assert done.code == 0
    columns = ["name", "photos", "enrolled", "consents", "expires", "expired"]
    assert [list(line) for line in found] == [columns] * 3
    assert [(line["name"], line["photos"]) for line in found] == [("Ada", 2), ("Bob", 1), ("Cy", 1)]
    assert found[0]["enrolled"][10] == "T"
    assert found[0]["enrolled"].endswith("+00:00")
    assert rows(run("list", "-g", enrolled, "--csv").out) == [
        columns,
        *[[line["name"], str(line["photos"]), line["enrolled"], "", "", "False"] for line in found],
    ]
    table = run("list", "-g", enrolled).out
    assert all(name in table for name in ("Ada", "Bob", "Cy"))


def test_rename_merge_and_remove(run, enrolled):
    def listed():
        return [(line["name"], line["photos"]) for line in lines(run("list", "-g", enrolled, "--json").out)]

    assert run("rename", "Ada", "Ada Lovelace", "-g", enrolled).code == 0
    assert run("merge", "Bob", "Ada Lovelace", "--yes", "-g", enrolled).code == 0
    assert listed() == [("Ada Lovelace", 2), ("Cy", 1)]
    done = run("remove", "Ada Lovelace", "Ada Lovelace", "--yes", "-g", enrolled)
    assert done.code == 0
    assert "2 faces of 1 person\n" in done.err
    assert listed() == [("Cy", 1)]


def test_remove_asks_first(run, enrolled):
    done = run("remove", "Ada", "-g", enrolled, stdin="n\n")
    assert done.code == 2
    assert "Ada: 1 photo\nDelete this person" in done.err
    assert "nothing was changed" in done.err
    assert done.out.strip() == ""
    assert len(lines(run("list", "-g", enrolled, "--json").out)) == 3
    assert run("remove", "Ada", "-g", enrolled, stdin="y\n").code == 0
    assert len(lines(run("list", "-g", enrolled, "--json").out)) == 2


def test_merge_asks_first(run, enrolled):
    done = run("merge", "Ada", "Bob", "-g", enrolled, stdin="n\n")
    assert done.code == 2
    assert "Ada: 1 photo\nBob: 1 photo\n" in done.err
    assert len(lines(run("list", "-g", enrolled, "--json").out)) == 3
    assert run("merge", "Ada", "Bob", "-g", enrolled, stdin="y\n").code == 0
    assert [line["name"] for line in lines(run("list", "-g", enrolled, "--json").out)] == ["Bob", "Cy"]


def test_people_who_are_not_there_are_one_line(run, enrolled):
    where = ("-g", enrolled)
    one_line(run("rename", "Eve", "Ada", *where), "'Eve'", "facedex list")
    one_line(run("rename", "Ada", "Bob", *where), "enrolled already", "merge")
    one_line(run("rename", "Ada", "unknown", *where), "cannot be a person's name")
    one_line(run("merge", "Eve", "Ada", *where), "'Eve'")
    one_line(run("merge", "Ada", "Ada", "-y", *where), "itself")
    one_line(run("remove", "Ada", "Eve", *where), "'Eve'")  # before the question
    one_line(run("remove", "Eve", "-y", *where), "'Eve'")
    assert len(lines(run("list", *where, "--json").out)) == 3


# names of every kind


def test_names_of_every_kind_survive_every_output(run, tmp_path, models):
    where = ("-g", tmp_path / "g")
    photos = {name: save_face(tmp_path / "db" / f"{i}.png", i, side=120) for i, name in enumerate(ODD_NAMES)}
    with Gallery(tmp_path / "g", models["sure"], create=True) as opened:
        for name, photo in list(photos.items())[2:]:
            with named_photos([photo], name) as (found, _):
                assert [result.status for result in opened.iter_enroll(found)] == ["enrolled"]
    for name in ODD_NAMES[:2]:
        done = run("enroll", photos[name], f"--name={name}", *where, "--json")
        assert done.code == 0
        assert lines(done.out)[0]["name"] == name
    assert {line["name"] for line in lines(run("list", *where, "--json").out)} == set(ODD_NAMES)
    safe = ["'--json" if name == "--json" else name for name in ODD_NAMES]  # no spreadsheet takes it for a formula
    assert {row[0] for row in rows(run("list", *where, "--csv").out)[1:]} == set(safe)
    table = run("list", *where).out
    assert [name for name in ODD_NAMES if name not in table] == []

    wanted = [str(path) for path in photos.values()]
    found = lines(run("identify", *wanted, *where, "--json").out)
    assert [line["faces"][0]["name"] for line in found] == ODD_NAMES
    header, *found = rows(run("identify", *wanted, *where, "--csv", "--annotate", tmp_path / "out").out)
    assert [row[header.index("name")] for row in found] == safe
    assert len(list((tmp_path / "out").iterdir())) == len(ODD_NAMES)
    table = run("identify", *wanted, *where, "--top", 2).out
    folded = "".join(table.split("\n"))
    assert [name for name in ODD_NAMES[:-1] if name not in folded] == []

    for name in ODD_NAMES[::3]:
        assert run("rename", *where, "--", name, "renamed").code == 0
        assert run("rename", *where, "--", "renamed", name).code == 0
    assert run("remove", "-y", *where, "--", *ODD_NAMES).code == 0
    assert run("list", *where, "--json").out == ""


def test_a_name_is_found_however_its_accents_are_typed(run, enrolled):
    run("rename", "Ada", "Zoe\u0308", "-g", enrolled)
    assert lines(run("list", "-g", enrolled, "--json").out)[-1]["name"] == "Zoë"
    assert run("rename", "Zoe\u0308", "Ada", "-g", enrolled).code == 0


def test_paths_of_every_kind_survive_the_outputs(run, enrolled, tmp_path):
    for name in ("[bold]x[/bold].png", "\\[red].png", ":smile:.png", "日本 😀.png", 'it\'s "q", y.png'):
        path = save_face(tmp_path / "odd" / name, 0)
        assert lines(run("identify", path, "-g", enrolled, "--json").out)[0]["photo"] == str(path)
        assert rows(run("identify", path, "-g", enrolled, "--csv").out)[1][0] == str(path)
        assert name in run("identify", path, "-g", enrolled).out.replace("\n", "")
        one_line(run("verify", path, tmp_path / f"no {name}"), f"no {name}")


def command(*arguments, **environment):
    """`python -m facedex` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "facedex", *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("form", "encoding"),
    [("--json", "utf-8:strict"), ("--json", "cp1252:strict"), ("--csv", "utf-8:strict"), ("--top=1", "ascii:strict")],
)
def test_odd_bytes_in_a_path_and_narrow_code_pages_do_not_crash(run, enrolled, tmp_path, form, encoding):
    run("rename", "Ada", "Zoë 😀", "-g", enrolled)
    path = os.fsencode(tmp_path) + b"/odd \xff\xfe.png"
    try:
        shutil.copy(save_face(tmp_path / "plain.png", 0), path)
    except OSError:
        pytest.skip("this file system keeps Unicode only")
    done = command("identify", path, "-g", str(enrolled), form, PYTHONIOENCODING=encoding)
    assert done.stderr == b""
    assert done.returncode == 0
    assert b"odd" in done.stdout
    if form == "--json":
        (found,) = lines(done.stdout.decode(encoding.split(":")[0]))
        assert os.fsencode(found["photo"]) == path
        assert found["faces"][0]["name"] == "Zoë 😀"


def test_odd_bytes_in_names_and_missing_paths_are_one_line(run, enrolled, tmp_path):
    one_line(run("remove", "\udcff", "-y", "-g", enrolled), "Nobody named '\\udcff'")
    one_line(run("rename", "Ada", "\udcff", "-g", enrolled), "cannot be a person's name")
    done = command("verify", os.fsencode(tmp_path) + b"/\xff.png", b"\xfe.png", PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 2
    assert done.stderr.startswith(b"facedex: ")
    assert done.stderr.count(b"\n") == 1


# settings


def test_the_gallery_comes_from_the_environment_and_the_option_goes_before_it(run, enrolled, tmp_path, monkeypatch):
    gallery(tmp_path / "other", people(unit(1))).close()
    monkeypatch.setenv("FACEDEX_GALLERY", str(tmp_path / "other"))
    assert [line["name"] for line in lines(run("list", "--json").out)] == ["person0000"]
    assert len(lines(run("list", "--json", "-g", enrolled).out)) == 3
    monkeypatch.setenv("FACEDEX_GALLERY", "")
    one_line(run("list"), "no gallery in index")


def test_the_model_comes_from_the_environment_and_the_option_goes_before_it(run, database, models, monkeypatch):
    pair = (database / "Ada.png", database / "Bob.png")
    monkeypatch.setenv("FACEDEX_MODEL", str(models["never"]))
    assert run("verify", *pair).code == 1
    assert run("verify", *pair, "--model", models["sure"]).code == 0
    monkeypatch.setenv("FACEDEX_MODEL", "gone.safetensors")
    one_line(run("verify", *pair), "no model gone.safetensors")


def test_another_model_than_the_gallerys_is_refused_with_the_remedy(run, enrolled, database, tmp_path):
    other_encoder(tmp_path / "m.safetensors", "default")
    for name in ("identify", "enroll"):
        one_line(run(name, database, "-g", enrolled, "-m", tmp_path / "m.safetensors"), "facedex reindex")


def test_reindex(run, enrolled, models, database, tmp_path):
    assert run("reindex", "-g", enrolled, "--kind", "flat").code == 0
    assert run("identify", database, "-g", enrolled).code == 0
    done = run("reindex", "-g", enrolled, "-m", models["never"])
    assert done.code == 0
    assert "3 faces indexed\n" in done.err
    assert run("identify", database, "-g", enrolled).code == 1
    one_line(run("reindex", "-g", enrolled, "--kind", "hnsw"), "'hnsw'", "auto, flat, quantised")
    one_line(run("reindex", "-g", enrolled, "-m", tmp_path / "gone"), "no model")


def test_a_move_to_another_model_asks_before_it_drops_a_face(run, database, tmp_path):
    where = ("-g", tmp_path / "g")
    other_encoder(tmp_path / "m.safetensors", "default")
    run("enroll", database, *where)
    (database / "Ada.png").unlink()
    before = sorted(path.name for path in (tmp_path / "g").iterdir())
    done = run("reindex", *where, "-m", tmp_path / "m.safetensors", stdin="n\n")
    assert done.code == 2
    assert str(database / "Ada.png") in done.err
    assert "Drop this face" in done.err
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == before
    assert len(lines(run("list", *where, "--json").out)) == 3
    assert run("identify", database, *where).code == 0
    done = run("reindex", *where, "-m", tmp_path / "m.safetensors", "--yes")
    assert done.code == 1
    assert "2 faces indexed" in done.err
    assert [line["name"] for line in lines(run("list", *where, "--json").out)] == ["Bob", "Cy"]


# upkeep


def test_update_shows_what_vanished_and_asks(run, database, tmp_path):
    where = ("-g", tmp_path / "g")
    run("enroll", database, *where)
    (database / "Ada.png").unlink()
    (database / "Bob.png").rename(database / "Robert.png")
    done = run("enroll", database, "--update", *where, "--json", stdin="n\n")
    assert done.code == 0
    assert f"vanished: {database / 'Ada.png'} (Ada)" in done.err
    assert "1 moved, 1 known" in done.err
    assert [(line["name"], line["status"]) for line in lines(done.out)] == [("Cy", "known"), ("Robert", "moved")]
    assert [line["name"] for line in lines(run("list", *where, "--json").out)] == ["Ada", "Cy", "Robert"]
    done = run("enroll", database, "--update", "--yes", *where)
    assert done.code == 0
    assert "1 removed" in done.err
    assert [line["name"] for line in lines(run("list", *where, "--json").out)] == ["Cy", "Robert"]
    assert run("enroll", database, "--update", "--name", "Ada", *where).code == 2


def test_doctor_says_what_is_sound_repaired_and_broken(run, enrolled, models):
    done = run("doctor", "-g", enrolled, "--json")
    assert [list(line) for line in lines(done.out)] == [["part", "state", "detail"]] * 7
    assert run("doctor", "-g", enrolled).code == 0
    (copy,) = enrolled.glob("model-*.safetensors")
    copy.unlink()
    done = run("doctor", "-g", enrolled)
    assert done.code == 2
    assert "broken" in done.out
    assert "facedex doctor --model" in done.out
    one_line(run("list", "-g", enrolled), "lost or damaged", "facedex doctor")
    assert run("reindex", "-g", enrolled, "-m", models["sure"]).code == 0
    copy.unlink()
    assert run("doctor", "-g", enrolled, "-m", models["sure"]).code == 1
    assert run("doctor", "-g", enrolled).code == 0


def test_backup_and_restore(run, enrolled, tmp_path):
    assert run("backup", tmp_path / "b", "-g", enrolled).code == 0
    one_line(run("backup", tmp_path / "b", "-g", enrolled), "--force")
    one_line(run("backup", tmp_path / "c", "-g", tmp_path / "none"), "no gallery")
    done = run("restore", tmp_path / "b", "-g", tmp_path / "new")
    assert done.code == 0
    assert "3 people, 3 faces" in done.err
    one_line(run("restore", tmp_path / "b", "-g", tmp_path / "new"), "--force")
    run("remove", "Ada", "-y", "-g", tmp_path / "new")
    assert run("restore", tmp_path / "b", "--force", "-g", tmp_path / "new").code == 0
    assert run("list", "-g", tmp_path / "new", "--json").out == run("list", "-g", enrolled, "--json").out
    one_line(run("restore", tmp_path / "none", "-g", tmp_path / "x"), "does not exist")


# usage


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("identify",),
        ("enroll",),
        ("verify", "one.jpg"),
        ("identify", "x", "--top", "0"),
        ("identify", "x", "--fpir", "0"),
        ("identify", "x", "--fpir", "1"),
        ("identify", "x", "--prior", "2"),
        ("identify", "x", "--nonsense"),
        ("verify", "a", "b", "--fmr", "0"),
        ("rename", "one"),
        ("identify", "x", "--fpir", "nan"),
        ("identify", "x", "--prior", "nan"),
        ("verify", "a", "b", "--fmr", "nan"),
        ("identify", "x", "--json", "--csv"),
        ("list", "--json", "--csv"),
        ("enroll", "x", "--json", "--csv"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_without_a_traceback(run, arguments):
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "Error" in done.err


def test_broken_galleries_are_one_line(run, database, tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "gallery.db").write_bytes(b"garbage" * 1000)
    for arguments in (("identify", database), ("enroll", database), ("list",), ("remove", "Ada", "-y")):
        one_line(run(*arguments, "-g", tmp_path / "g"), "gallery.db")


def test_help_and_version(run):
    done = run("--help")
    assert done.code == 0
    assert done.err == ""
    assert all(name in done.out for name in cli.COMMANDS)
    from facedex import __version__

    assert run("--version").out == f"facedex {__version__}\n"


def test_a_reader_that_stops_reading_is_no_crash(tmp_path):
    gallery(tmp_path / "g", people(unit(3000))).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "facedex", "list", "--json", "-g", str(tmp_path / "g")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait()
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_is_said_in_one_line(enrolled):
    process = subprocess.Popen(
        [sys.executable, "-m", "facedex", "remove", "Ada", "-g", str(enrolled)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    )
    asked = ""
    while not asked.endswith("[y/N] "):
        asked += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)  # before the other end closes, which would be an answer
    errors = process.communicate()[1]
    assert errors.endswith("facedex: interrupted\n")
    assert "Traceback" not in errors
    assert process.returncode == 130


def test_the_gallery_from_the_library_is_the_command_lines(run, enrolled):
    with Gallery(enrolled) as opened:
        opened.rename("Ada", "Eve")
    assert [line["name"] for line in lines(run("list", "-g", enrolled, "--json").out)] == ["Bob", "Cy", "Eve"]
