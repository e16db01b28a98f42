"""How a run of the command line ends: faults, full disks, closed pipes, Ctrl-C, and what is known by then."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facedex import __version__, cli
from facedex.cli import endings
from facedex.cli.exit_codes import EVERY_COMMAND
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import named_photos
from tests.helpers import gallery, make_model, people, python, save_face, unit

ROOT = Path(__file__).parents[1]
FAULTY = """
import sys
from facedex import cli
from facedex.gallery.gallery import Gallery

def people(self):
    {body}

Gallery.people = people
sys.argv = ["facedex", "list", "-g", sys.argv[1]]
cli.main()
"""


def environment(**variables):
    """The environment of a process that finds this facedex, with these variables."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # Where PYTHONUNBUFFERED is set, Python drops what a pipe does not take at once, and raises nothing.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACEDEX_", "PYTHONUNBUF"))}
    return {**kept, "PYTHONPATH": path, **variables}


def facedex(*arguments, env=None, **options):
    """Run one command in a process of its own."""
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-m", "facedex", *map(str, arguments)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**(env or {})),
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A gallery of three people."""
    folder = tmp_path_factory.mktemp("three") / "g"
    gallery(folder, people(unit(3))).close()
    return folder


def run_faulty(body, folder, **variables):
    # In the repository an editable installation has left its metadata, which would come before the test's own.
    process = python(FAULTY.format(body=body), folder, env=environment(**variables), cwd=Path(folder).parent)
    out, errors = process.communicate()
    return process.returncode, out, errors


def test_a_fault_of_facedex_itself_is_exit_3_and_says_where_to_report_it(three):
    code, out, errors = run_faulty("raise TypeError('what\\x1b[31m')", three)
    assert code == 3
    assert out == ""
    assert errors.count("\n") == 1
    assert f"a fault in facedex {__version__} itself (TypeError: what\\x1b[31m)" in errors
    assert "FACEDEX_TRACEBACK=1" in errors
    code, _, errors = run_faulty("raise TypeError('what')", three, FACEDEX_TRACEBACK="1")
    assert code == 3
    assert "Traceback" in errors
    assert "in people" in errors


def test_the_address_for_reports_is_that_of_the_packages_metadata(three, tmp_path):
    info = tmp_path / f"facedex-{__version__}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.4\nName: facedex\nVersion: {__version__}\n"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for lines, wanted in (
        (
            "Project-URL: Source, https://e.org/s\nProject-URL: Issues, https://e.org/i\n",
            "at https://e.org/i ",
        ),
        ("Project-URL: Homepage, https://e.org/h\n", "at https://e.org/h "),
        ("", "to the people from whom you have facedex"),
    ):
        (info / "METADATA").write_text(head + lines)
        code, _, errors = run_faulty("raise KeyError(1)", three, PYTHONPATH=path)
        assert code == 3
        assert wanted in errors


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        ("PermissionError(13, 'Permission denied', '/some/file')", ["/some/file", "Permission denied"]),
        ("OSError(28, 'No space left on device')", ["stdout or a file cannot be", "No space left"]),
        ("MemoryError()", ["memory"]),
        ("ImportError('No module named sqlite9')", ["sqlite9", "install"]),
    ],
)
def test_what_the_machine_refuses_is_no_fault_of_facedex(three, error, parts):
    code, _, errors = run_faulty(f"raise {error}", three)
    assert code == 2
    assert errors.startswith("facedex: ")
    assert errors.count("\n") == 1
    assert all(part in errors for part in parts)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("list", "--json"), ("list", "--csv"), ("list",), ("list", "--help")])
def test_a_full_stdout_is_one_line_and_exit_2(three, arguments):
    with open("/dev/full", "w") as full:
        done = facedex(*arguments, stdout=full, env={"FACEDEX_GALLERY": str(three)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "stdout or a file cannot be written (No space left on device)" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("form", ["--json", "--csv", None])
def test_a_reader_that_went_away_ends_the_run_in_silence(tmp_path, form):
    gallery(tmp_path / "g", people(unit(3000))).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "facedex", "list", *([form] if form else []), "-g", str(tmp_path / "g")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == endings.CLOSED == 141


def started(*arguments):
    """A command in a process of its own, to which Ctrl-C can be sent; its stdout and stderr are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "facedex", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    )


def pressed(process):
    """Send Ctrl-C to a process; returns its exit code, stdout and stderr."""
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=100)
    return process.returncode, out, errors


@pytest.fixture(scope="module")
def ada(tmp_path_factory):
    """A folder with Ada's photo Ada.png, and a gallery g in which everybody is named Ada."""
    folder = tmp_path_factory.mktemp("ada")
    photo = save_face(folder / "Ada.png", 1, side=120)
    model = make_model(folder / "sure.safetensors", start=-1e4)
    with Gallery(folder / "g", model, create=True) as opened, named_photos([photo], "Ada") as (photos, _):
        assert [result.status for result in opened.enroll_all(photos)] == ["enrolled"]
    return folder


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_shows_the_photos_that_are_identified_so_far(ada, tmp_path):
    out = tmp_path / "out"
    process = started("identify", *[ada / "Ada.png"] * 600, "-g", ada / "g", "--annotate", out)
    for _ in range(2000):
        if (out.is_dir() and len(list(out.iterdir())) > 3) or process.poll() is not None:
            break
        time.sleep(0.02)
    code, table, errors = pressed(process)
    assert code == 130
    assert errors == "facedex: interrupted\n"
    assert 3 <= len(re.findall(r"│ Ada ", table)) < 600


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_the_file_of_results_as_it_was(ada, tmp_path):
    (tmp_path / "found.json").write_text("older")
    out = tmp_path / "out"
    where = ("-g", ada / "g", "--annotate", out, "-o", tmp_path / "found.json")
    process = started("identify", *[ada / "Ada.png"] * 600, *where)
    for _ in range(2000):
        if (out.is_dir() and len(list(out.iterdir())) > 3) or process.poll() is not None:
            break
        time.sleep(0.02)
    code, printed, _ = pressed(process)
    assert (code, printed) == (130, "")
    assert (tmp_path / "found.json").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "out"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_says_how_many_photos_are_enrolled_so_far(ada, tmp_path):
    content = (ada / "Ada.png").read_bytes()
    (tmp_path / "db").mkdir()
    for number in range(400):
        (tmp_path / "db" / f"p{number}.png").write_bytes(content + bytes(number))  # each photo differs from the others
    process = started("enroll", tmp_path / "db", "-g", tmp_path / "g", "--model", "fast", "--json")
    assert json.loads(process.stdout.readline())["status"] == "enrolled"
    code, _, errors = pressed(process)
    assert code == 130
    enrolled = int(re.search(r"^(\d+) enrolled", errors, re.MULTILINE)[1])
    assert 1 <= enrolled < 400
    with Gallery(tmp_path / "g") as opened:
        assert len(opened) >= enrolled


def test_every_exit_code_of_an_ending_is_described():
    assert {endings.UNUSABLE, endings.FAULT, endings.INTERRUPTED, endings.CLOSED} == set(EVERY_COMMAND)


@pytest.mark.parametrize(
    "arguments",
    [("identify", "x.png"), ("enroll", "."), ("verify", "a.png", "b.png"), ("detect", "x.png"), ("doctor",)],
    ids=" ".join,
)
def test_an_opencv_that_is_not_whole_is_one_line_that_names_the_package(three, tmp_path, arguments):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").touch()
    save_face(tmp_path / "x.png", 1, side=60)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = facedex(*arguments, cwd=tmp_path, env={"PYTHONPATH": path, "FACEDEX_GALLERY": str(three)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install --force-reinstall --no-deps opencv-python-headless" in done.stderr


def test_the_option_h_is_help_everywhere(monkeypatch, capsys):
    for arguments in (["-h"], *([name, "-h"] for name in cli.COMMANDS)):
        monkeypatch.setattr(sys, "argv", ["facedex", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert not caught.value.code
        assert "Usage" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="bash's completion")
def test_bash_completes_commands_and_options():
    def completed(words):
        variables = {"_FACEDEX_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        script = "import sys; from facedex import cli; sys.argv = ['facedex']; cli.main()"
        return python(script, env=environment(**variables)).communicate()[0].split()

    assert {"identify", "enroll", "train"} <= set(completed("facedex "))
    assert {"--annotate", "--quiet"} <= set(completed("facedex identify --"))
    shown = facedex("--show-completion", "bash")
    assert "complete" in shown.stdout + shown.stderr
