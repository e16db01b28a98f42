"""`facedex evaluate`: the JSON as a contract, models against each other, the cache, the report, errors in one line."""

import csv
import io
import os
import re
import stat
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest

from facedex.evaluation import matchers, pairs_protocol, people_protocol, report
from facedex.evaluation.bootstrap import people_weights
from facedex.faces import detector
from facedex.faces.alignment import TEMPLATE
from facedex.json_shapes import PeopleReport
from facedex.model.modelfile import shipped_model
from tests.helpers import (
    assert_fields_described,
    json_fields,
    lines,
    make_model,
    one_line,
    own_model,
    save_blank,
    save_face,
)
from tests.synthetic import person_crop, write_pack

FAST = shipped_model("fast")
PEOPLE, PAIRS, COMPARISON = range(3)  # the kinds of JSON objects of `evaluate` in json_fields.py
FIGURES = ["tar", "eer", "auc", "p50", "ece", "n_way", "rank", "fnir"]


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    """A thousand are for users; what is tested here is not how smooth the intervals are."""
    for module in (people_protocol, pairs_protocol):
        monkeypatch.setattr(module, "people_weights", lambda count, seed: people_weights(count, seed, 100))


@pytest.fixture
def run(run):
    """Run `facedex evaluate` in this process."""
    return partial(run, "evaluate")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Sixteen made-up people with three photos each, and two with one."""
    return write_pack(tmp_path_factory.mktemp("people") / "people.tar", 16, 3, singles=2)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The shipped encoder with another head."""
    return make_model(tmp_path_factory.mktemp("model") / "other.safetensors", v=np.linspace(-4, 4, 128), beta=3.0)


def test_json_of_people(run, pack):
    done = run(pack, "--aligned", "--json")
    (found,) = lines(done.out)
    assert done.code == 0
    assert list(found) == [
        "protocol",
        "model",
        "people",
        "photos",
        "genuine",
        "impostors",
        *FIGURES,
        "ci",
        "failed",
        "realised_fpir",
    ]
    assert (found["protocol"], found["model"], found["people"], found["photos"]) == ("people", "default", 18, 50)
    assert found["genuine"] == 48
    assert found["impostors"] == 50 * 49 // 2 - 48
    assert found["failed"] == []
    assert list(found["tar"]) == ["0.01", "0.001", "0.0001", "1e-05"]
    assert found["tar"]["1e-05"] is None
    assert list(found["n_way"]) == ["2", "5", "all"]
    assert list(found["rank"]) == ["1", "5", "10"]
    assert list(found["ci"]) == FIGURES
    assert list(found["ci"]["tar"]) == list(found["tar"])
    low, high = found["ci"]["auc"]
    assert 0 <= low <= found["auc"] <= high <= 1
    assert [row["enrolled"] for row in found["realised_fpir"]] == [10, 10]
    assert list(found["realised_fpir"][0]) == ["enrolled", "target", "fpir", "fpir_ci", "fnir", "fnir_ci"]


def test_every_json_field_of_people_is_described(run, pack, tmp_path):
    with tarfile.open(pack) as tar:
        tar.extractall(tmp_path / "people", filter="data")
    save_blank(next((tmp_path / "people").iterdir()) / "other size.png")  # fails, as 200 pixels are no aligned face
    done = run(tmp_path / "people", "--aligned", "-m", FAST, "--json")
    assert done.code == 1
    assert_fields_described(lines(done.out), "evaluate", PEOPLE)


def test_a_folder_is_the_same_as_its_pack(run, pack, tmp_path):
    with tarfile.open(pack) as tar:
        tar.extractall(tmp_path / "people", filter="data")
    packed, folder = (lines(run(data, "--aligned", "--json").out)[0] for data in (pack, tmp_path / "people"))
    assert packed == folder


def test_models_are_compared_on_the_same_trials(run, pack, other):
    first, second, found = lines(run(pack, "--aligned", "-m", FAST, "-m", other, "--json").out)
    assert (first["model"], second["model"]) == ("fast", "other") == (found["a"], found["b"])
    assert found["protocol"] == "comparison"
    assert found["on"] == "every pair"
    assert found["difference"]["auc"] == pytest.approx(first["auc"] - second["auc"], abs=2e-6)
    assert found["ci"]["auc"][0] <= found["difference"]["auc"] <= found["ci"]["auc"][1]
    assert 0 < found["p"]["auc"] <= 1
    same = lines(run(pack, "--aligned", "-m", FAST, "-m", FAST, "--json").out)[2]
    assert same["difference"]["auc"] == 0
    assert same["p"]["auc"] == 1
    assert same["a"] != same["b"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The network of a model of ours as an ONNX file, and the model."""
    folder = tmp_path_factory.mktemp("encoder")
    model = own_model(folder / "ours.safetensors")
    (folder / "graph.onnx").write_bytes(model.graph(model.branches[0]))
    return folder / "graph.onnx", model


def test_the_same_encoder_as_onnx_takes_part(run, pack, graph):
    shown = ["--onnx", graph[0], "--size", 48]
    model, encoder, compared = lines(run(pack, "--aligned", "-m", graph[1].path, *shown, "--json").out)
    assert (model["model"], encoder["model"]) == ("ours", "graph")
    assert "ece" in model
    assert "ece" not in encoder
    assert encoder["realised_fpir"] == []
    assert 0.5 < encoder["auc"] <= 1
    assert "ece" not in compared["difference"]
    (alone,) = lines(run(pack, "--aligned", *shown, "--json").out)
    assert {**alone, "model": ""} == {**encoder, "model": ""}


def test_the_models_that_ship_are_known_by_name(run, pack):
    first, second, _ = lines(run(pack, "--aligned", "-m", "default", "-m", "fast", "--json").out)
    assert (first["model"], second["model"]) == ("default", "fast")
    one_line(run(pack, "--aligned", "-m", "nosuch"), "nosuch", "default or fast")


def test_a_broken_member_of_a_zip_is_listed_and_left_out(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as packed:
        for person in range(5):
            for photo in range(3):
                path = save_face(tmp_path / "face.png", person, side=240 - photo)
                packed.write(path, f"p{person}/{photo}.png")
        start = packed.getinfo("p1/2.png").header_offset
    data = bytearray((tmp_path / "people.zip").read_bytes())
    data[start + 500] ^= 1
    (tmp_path / "people.zip").write_bytes(data)
    done = run(tmp_path / "people.zip", "--json")
    assert done.code == 1
    assert [one["photo"] for one in lines(done.out)[0]["failed"]] == ["p1/2"]


def test_tables_name_every_figure(run, pack, other):
    done = run(pack, "--aligned", "-m", FAST, "-m", other)
    for part in ("TAR@FAR=0.01", "5-way one-shot", "rank-1", "FNIR@FPIR=0.01", "AUC", "against", "realised FPIR"):
        assert part in done.out


def test_two_people_are_enough_for_a_page(run, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    two = write_pack(tmp_path / "two.tar", 2, 2)
    done = run(two, "--aligned", "--report", tmp_path / "report")
    assert done.code == 0, done.err
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "Too few pairs of two people for an ROC: 4." in page
    assert "Worst errors" in page


def test_corrections_that_leave_nobody_are_one_line(run, pack, tmp_path):
    with tarfile.open(pack) as tar:
        names = {name.partition("/")[0] for name in tar.getnames()}
    (tmp_path / "c.csv").write_text("key,person\n" + "".join(f"{name},\n" for name in sorted(names)))
    one_line(run(pack, "--aligned", "--corrections", tmp_path / "c.csv"), "leaves out every photo")


def test_pairs_of_two_models_have_mcnemars_p_and_every_pair(run, other, tmp_path):
    for seed in range(10):
        for number, side in ((1, 240), (2, 200)):
            save_face(tmp_path / "lfw" / f"p{seed}" / f"p{seed}_{number:04d}.png", seed, side=side)
    rows = ["10", *[f"p{i}\t1\t2" for i in range(10)], *[f"p{i}\t1\tp{(i + 1) % 10}\t2" for i in range(10)]]
    (tmp_path / "pairs.txt").write_text("\n".join(rows))
    arguments = (tmp_path / "pairs.txt", "--images", tmp_path / "lfw", "-m", FAST, "-m", other)
    first, _, listed, every = lines(run(*arguments, "--json").out)
    assert first["protocol"] == "pairs"
    assert list(first["ci"]) == ["accuracy", "tar", "auc"]
    assert first["every_pair"]["genuine"] == 10
    assert first["every_pair"]["impostors"] == 180
    assert (listed["on"], every["on"]) == ("listed pairs", "every pair")
    assert "mcnemar" not in every
    assert list(listed["mcnemar"]) == ["only_a", "only_b", "p"]
    assert_fields_described([first], "evaluate", PAIRS)
    assert_fields_described([listed], "evaluate", COMPARISON)
    figures = {field for field in json_fields(first["every_pair"]) if "." not in field}
    assert figures <= set(PeopleReport.fields())
    assert run(*arguments, "--report", tmp_path / "report").code == 0
    assert "ten-fold accuracy" in (tmp_path / "report" / "report.html").read_text("utf-8")


def test_a_photo_without_a_face_and_a_broken_one_are_listed_and_left_out(run, tmp_path):
    for seed in range(5):
        for number, side in ((1, 240), (2, 200)):
            save_face(tmp_path / "people" / f"p{seed}" / f"{number}.png", seed, side=side)
    whole = lines(run(tmp_path / "people", "--json").out)[0]
    save_blank(tmp_path / "people" / "p1" / "blank.png")
    (tmp_path / "people" / "p2" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    done = run(tmp_path / "people", "--json")
    found = lines(done.out)[0]
    assert done.code == 1
    assert [one["photo"] for one in found["failed"]] == ["p1/blank", "p2/broken"]
    assert "no face" in found["failed"][0]["reason"]
    assert "broken" in found["failed"][1]["reason"]
    assert {**found, "failed": []} == whole
    table = run(tmp_path / "people")
    assert "2 photos" in table.err
    assert "p1/blank" in table.err
    assert table.code == 1


def test_corrections_move_and_leave_out(run, pack, tmp_path):
    with open(tmp_path / "fix.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("key", "person", "why"), ("person000", "person001", ""), ("person002/00", "", ""), ("person016", "", "")]
        )
    found = lines(run(pack, "--aligned", "--corrections", tmp_path / "fix.csv", "--json").out)[0]
    assert found["people"] == 16
    assert found["photos"] == 48
    one_line(run(pack, "--aligned", "--corrections", tmp_path / "gone.csv"), "gone.csv")


# the cache


def test_nothing_is_kept_unless_asked_for(run, pack, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    run(pack, "--aligned", "--json")
    assert sorted(tmp_path.rglob("*")) == before
    assert os.listdir() == []


def test_the_cache_gives_the_same_and_no_photo_is_encoded_again(run, pack, tmp_path, monkeypatch):
    first = run(pack, "--aligned", "--json", "--cache", tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def refuse(*_):
        raise AssertionError("encoded again")

    real = matchers.open_encoder
    monkeypatch.setattr(matchers, "open_encoder", lambda *_: type("Refusing", (), {"encode": staticmethod(refuse)}))
    assert run(pack, "--aligned", "--json", "--cache", tmp_path / "cache").out == first.out
    monkeypatch.setattr(matchers, "open_encoder", real)
    kept.write_bytes(kept.read_bytes()[:-100])
    assert run(pack, "--aligned", "--json", "--cache", tmp_path / "cache").out == first.out
    one_line(run(pack, "--aligned", "--cache", pack), "cache")


def test_the_cache_knows_the_version_of_the_detector(run, pack, tmp_path, monkeypatch):
    run(pack, "--aligned", "--json", "--cache", tmp_path / "cache")
    monkeypatch.setattr(detector, "VERSION", detector.VERSION + 1)
    run(pack, "--aligned", "--json", "--cache", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_cache_knows_a_photo_by_its_content_and_a_model_by_its_fingerprint(run, pack, graph, tmp_path):
    run(pack, "--aligned", "--json", "--cache", tmp_path / "cache", "-m", graph[1].path)
    (own,) = (tmp_path / "cache").iterdir()
    with np.load(own) as stored:
        assert stored["photos"].shape == (50, 32)
        assert stored["vectors"].shape == (50, 128)
    found = {}
    moved = ",".join(str(number) for number in (TEMPLATE * 48 / 112 + 2).ravel())
    for way in ("--mirrored", "--scale=0.5", "--bgr", "--rgb", f"--points={moved}"):
        before = set((tmp_path / "cache").iterdir())
        run(pack, "--aligned", "--json", "--cache", tmp_path / "cache", "--onnx", graph[0], "--size", 48, way)
        (new,) = set((tmp_path / "cache").iterdir()) - before
        with np.load(new) as stored, np.load(own) as ours:
            assert np.array_equal(stored["photos"], ours["photos"])
            found[way] = float(np.abs(stored["vectors"] - ours["vectors"]).max())
    # The model's own graph gives the model's own embeddings, seen as it sees faces; other ways each give others.
    assert found.pop("--mirrored") < 1e-5
    assert min(found.values()) > 1e-3
    assert len(set(found.values())) == 4


def test_what_an_encoder_wants_to_see_is_for_those_given_as_onnx(run, pack):
    for options in (["--mirrored"], ["--size", 20], ["--mean", 3], ["--scale", ".5"], ["--bgr"], ["--points", "1,2"]):
        one_line(run(pack, "--aligned", *options), "--onnx")


# the report


@pytest.fixture
def page(run, pack, other, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    done = run(pack, "--aligned", "-m", FAST, "-m", other, "--report", tmp_path / "out" / "report")
    assert done.code == 0
    assert "report.html" in done.err
    path = tmp_path / "out" / "report" / "report.html"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text("utf-8")


def test_the_report_fetches_nothing(page):
    assert "://" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert "default-src 'none'" in page
    sources = re.findall(r"(?:src|srcset|href|url)\s*[=(]\s*[\"']?([^\"')>]+)", page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


def test_the_report_has_every_plot_and_the_errors_as_pictures(page):
    for heading in (
        "ROC",
        "DET",
        "Scores of fast",
        "Scores of other",
        "Calibration",
        "N-way one-shot",
        "CMC",
        "Realised FPIR",
        "All figures",
        "Worst errors of fast",
        "fast against other",
    ):
        assert f"{heading}" in page, heading
    assert page.count("<img class=plot") == 8
    assert page.count("data:image/svg+xml") == 16
    assert page.count("data:image/jpeg") == page.count("<img") - 8 >= 40
    assert "class=gone" not in page
    assert page.count("(prefers-color-scheme: dark)") == 8 + 2  # each plot's, the style's and the palette's


def test_names_in_the_report_are_text_and_no_markup(run, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    from PIL import Image

    for person in range(5):
        folder = tmp_path / "people" / f"<b>&amp;{person}"
        folder.mkdir(parents=True)
        for photo in range(2):
            Image.fromarray(person_crop(person, photo, 112)).save(folder / f"{photo}.png")
    assert run(tmp_path / "people", "--aligned", "--report", tmp_path / "r").code == 0
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert "<b>&amp;0" not in page
    assert "&lt;b&gt;&amp;amp;" in page


def test_a_report_needs_its_extra(run, pack, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    one_line(run(pack, "--aligned", "--report", tmp_path / "r"), "pip install 'facedex[report]'")
    assert not (tmp_path / "r").exists()


def test_a_report_that_cannot_be_written_is_one_line(run, pack, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    (tmp_path / "file").touch()
    done = run(pack, "--aligned", "--json", "--report", tmp_path / "file")
    assert done.code == 2
    assert "cannot be written" in done.err
    assert len(done.err.strip().splitlines()) == 1


# errors


def test_what_cannot_be_evaluated_is_one_line(run, pack, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "pairs.txt").write_text("1\n")
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    one_line(run(tmp_path / "gone"), "gone", "--images")
    one_line(run(tmp_path / "pairs.txt"), "--images")
    one_line(run(tmp_path / "broken.tar"), "broken.tar")
    one_line(run(empty), "no photos")
    save_blank(empty / "x" / "blank.png")
    one_line(run(empty), "No face")
    one_line(run(pack, "--images", empty), "--images")
    one_line(run(tmp_path / "pairs.txt", "--images", empty, "--aligned"), "--aligned")
    one_line(run(pack, "--aligned", "-m", tmp_path / "no.safetensors"), "no.safetensors")
    one_line(run(pack, "--aligned", "--onnx", tmp_path / "no.onnx"), "no.onnx")
    one_line(run(pack, "--aligned", "--onnx", pack), "ONNX")
    one_line(run(pack, "--aligned", "--onnx", pack, "--mean", "1,2"), "--mean")
    one_line(run(pack, "--aligned", "--onnx", pack, "--scale", "x"), "--scale")
    one_line(run(pack, "--aligned", "--onnx", pack, "--points", "1,2,3"), "--points takes ten numbers")
    one_line(run(write_pack(tmp_path / "one.tar", 1, 3), "--aligned"), "two people")
    one_line(run(write_pack(tmp_path / "single.tar", 0, 1, singles=3), "--aligned"), "two people")


def test_ready_crops_of_another_size_are_left_out(run, tmp_path):
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(person_crop(0, 0, 100)).save(buffer, "PNG")
    for person in range(5):
        (tmp_path / "p" / f"x{person}").mkdir(parents=True)
        for photo in range(2):
            Image.fromarray(person_crop(person, photo, 112)).save(tmp_path / "p" / f"x{person}" / f"{photo}.png")
    (tmp_path / "p" / "x0" / "odd.png").write_bytes(buffer.getvalue())
    done = run(tmp_path / "p", "--aligned", "--json")
    (found,) = lines(done.out)
    assert done.code == 1
    assert found["photos"] == 10
    assert "100 x 100" in found["failed"][0]["reason"]
