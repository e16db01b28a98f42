"""How scripts end where something cannot be used, and what they say of it; those that have no tests of their own."""

import io
import os
import sys
from argparse import ArgumentParser

import numpy as np
import pytest

from facedex.errors import DataError, ModelError
from scripts import fetch_portraits as portraits
from scripts.benchmarks import closed_set
from scripts.benchmarks import gallery_sizes as benchmark
from scripts.benchmarks.generate_embeddings import Faces
from scripts.runner import list_of, run_script
from tests.helpers import save_face


def last_word(main, monkeypatch, capsys):
    """What is said on stderr, after exit code 2."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/script.py", *sys.argv[1:]])
    with pytest.raises(SystemExit) as ended:
        run_script(main)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("script.py: ")
    assert said.count("\n") == 1
    return said


def test_our_own_errors_and_those_of_files_are_one_line(tmp_path, monkeypatch, capsys):
    def fault():
        raise ModelError("There is no model m; name another")

    assert "There is no model m; name another" in last_word(fault, monkeypatch, capsys)
    gone, folder, file = tmp_path / "gone", tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch()
    for main in (
        lambda: gone.read_bytes(),
        lambda: list(gone.iterdir()),
        lambda: np.load(gone),
        lambda: (file / "gone").mkdir(),
    ):
        said = last_word(main, monkeypatch, capsys)
        assert str(tmp_path) in said
        assert " cannot be used (" in said
    assert f"{folder} cannot be used (" in last_word(lambda: os.replace(file, folder), monkeypatch, capsys)
    assert last_word(io.BytesIO().fileno, monkeypatch, capsys) == "script.py: fileno\n"  # an OSError of no file


def test_success_and_programming_errors_pass_through(capsys):
    run_script(lambda: print("done"))
    assert capsys.readouterr() == ("done\n", "")
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


def test_lists_of_numbers(capsys):
    parser = ArgumentParser()
    parser.add_argument("--rungs", type=list_of(int, 1, 13), default="1,2")
    parser.add_argument("--rates", type=list_of(float, 1e-6))
    assert vars(parser.parse_args(["--rates", "1,.5"])) == {"rungs": [1, 2], "rates": [1, 0.5]}
    for option, text in (
        *(("--rungs", text) for text in ("x", "", "1,", "0", "14", "1.5", "1,2,14")),
        *(("--rates", text) for text in ("0", "nan", "1;2")),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args([option, text])
        assert f"argument {option}: {text!r} will not do; give " in capsys.readouterr().err


def test_portraits_that_pip_cannot_fetch_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match=r"face_recognition==1.3.0 .*; go online") as caught:
        portraits.fetch(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_where_nobody_has_a_second_photo_is_not_measured_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["closed_set.py", str(tmp_path)])
    for people in range(3):
        with pytest.raises(DataError, match="second photo"):
            closed_set.main()
        save_face(tmp_path / f"person{people}" / "1.png", people)
    save_face(tmp_path / "person0" / "2.png", 0)
    for name in ("person1", "person2"):
        (tmp_path / name / "1.png").unlink()
    closed_set.main()  # the only person left meets no stranger
    assert "1 of 1" not in (printed := capsys.readouterr().out)
    assert "with 0 people enrolled" in printed


def test_a_file_without_statistics_of_faces_is_a_data_error(tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", np.zeros((3, 2, 4), np.float32))
    np.savez(tmp_path / "other.npz", vectors=np.zeros((3, 4)))
    (tmp_path / "torn.npz").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "empty.npz").touch()
    for name in ("nosuch.npz", "vectors.npy", "other.npz", "torn.npz", "empty.npz"):
        with pytest.raises(DataError, match=rf"{name} holds no statistics of faces .*generate_embeddings.py fit"):
            Faces.load(tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", str(tmp_path / "nosuch.npz")])
    with pytest.raises(DataError, match="nosuch"):
        benchmark.main()
