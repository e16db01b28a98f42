"""`facedex embed`: embeddings for other programs; and `-`, the photo on stdin, for every command that takes photos."""

import io
import json
import sys

import numpy as np
import pytest

import facedex
from facedex import cli
from facedex.model.modelfile import read_model
from tests.helpers import assert_fields_described, gallery, save_blank, save_face


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run one command in this process; returns its exit code, stdout and stderr. `stdin`: bytes."""
    for variable in ("FACEDEX_GALLERY", "FACEDEX_MODEL", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, stdin=b""):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["facedex", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def party(tmp_path_factory):
    return save_face(tmp_path_factory.mktemp("photos") / "party.png", 0, 1)


def test_embeddings_go_into_an_array_with_an_index(run, party, tmp_path):
    blank = save_blank(tmp_path / "blank.png")
    code, out, err = run("embed", party, blank, tmp_path / "gone.jpg", "-m", "fast", "-o", "new/faces.npy")
    assert (code, out) == (1, "")
    assert "skipped: " in err
    assert "does not exist" in err
    assert "2 embeddings are in new/faces.npy" in err
    vectors = np.load(tmp_path / "new" / "faces.npy", allow_pickle=False)
    index = json.loads((tmp_path / "new" / "faces.json").read_text("utf-8"))
    expected = facedex.find_faces(party, "fast")
    assert (vectors.shape, vectors.dtype) == ((2, 128), np.float32)
    assert np.allclose(vectors, [face.embedding for face in expected], atol=1e-5)
    assert (index["model"], index["dim"]) == (read_model("fast").fingerprint, 128)
    assert [(row["photo"], row["number"]) for row in index["faces"]] == [(str(party), 1), (str(party), 2)]
    assert [row["box"] for row in index["faces"]] == [[round(side, 1) for side in face.box] for face in expected]


def test_embeddings_are_printed_a_line_a_photo(run, party, tmp_path):
    blank = save_blank(tmp_path / "blank.png")
    code, out, _ = run("embed", party, blank, "-m", "fast", "--json")
    assert code == 1
    found, without = map(json.loads, out.splitlines())
    assert_fields_described([found, without], "embed")
    assert np.linalg.norm(found["faces"][0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert (without["faces"], "shows no face" in without["error"]) == ([], True)
    code, out, _ = run("embed", party, "-m", "fast", "--json", "-o", "both.npy")
    assert (code, len(out.splitlines())) == (0, 1)
    printed = [face["embedding"] for face in json.loads(out)["faces"]]
    assert np.allclose(np.load(tmp_path / "both.npy"), printed, atol=1e-6)


def test_an_array_without_faces_has_the_right_shape(run, tmp_path):
    code, _, _ = run("embed", save_blank(tmp_path / "blank.png"), "-m", "fast", "-o", "none.npy")
    assert code == 1
    assert np.load(tmp_path / "none.npy").shape == (0, 128)
    assert json.loads((tmp_path / "none.json").read_text("utf-8"))["faces"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["party.png"], "--output FILE.npy, or ask for --json"),
        (["party.png", "-o", "faces.csv"], "ends in .npy"),
        (["*.gif", "--json"], "Nothing matches"),
        (["party.png", "--json", "-m", "gone"], "There is no model gone"),
    ],
)
def test_wrong_usage_of_embed_is_refused(run, arguments, said):
    code, out, err = run("embed", *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_a_place_that_cannot_be_written_is_named(run, party, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("embed", party, "-m", "fast", "-o", "file/faces.npy")
    assert code == 2
    assert "file/faces.npy cannot be written" in err


def test_a_dash_reads_one_photo_from_stdin(run, tmp_path):
    ada = save_face(tmp_path / "ada.png", 0)
    data = ada.read_bytes()
    with gallery(tmp_path / "index"):
        pass
    code, out, _ = run("enroll", "-", "--name", "Ada", "--json", stdin=data)
    assert (code, json.loads(out)["photo"], json.loads(out)["status"]) == (0, "stdin", "enrolled")
    code, out, _ = run("identify", "-", "--json", stdin=data)
    (found,) = map(json.loads, out.splitlines())
    assert (code, found["photo"], found["faces"][0]["name"]) == (0, "stdin", "Ada")
    code, out, _ = run("identify", ada, "-", "--json", stdin=data)
    assert [json.loads(line)["photo"] for line in out.splitlines()] == [str(ada), "stdin"]
    code, out, _ = run("detect", "-", "--json", "--crops", "crops", stdin=data)
    assert (code, [path.name for path in (tmp_path / "crops").iterdir()]) == (0, ["stdin-1.png"])
    assert run("verify", "-", ada, "-m", "fast", stdin=data)[0] == 0
    assert run("embed", "-", "-m", "fast", "--json", stdin=data)[0] == 0


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_what_is_no_photo_on_stdin_is_said(run, data):
    code, _, err = run("detect", "-", stdin=data)
    assert code == 1
    assert "skipped: stdin " in err


def test_stdin_holds_one_photo_with_a_name_given_by_hand(run, party):
    for command in (["verify", "-", "-"], ["identify", "-", "-"], ["enroll", "-", "-", "--name", "Ada"]):
        code, _, err = run(*command, stdin=party.read_bytes())
        assert (code, "name it once" in " ".join(err.split())) == (2, True)
    code, _, err = run("enroll", "-", stdin=party.read_bytes())
    assert (code, "add --name NAME" in " ".join(err.split())) == (2, True)
