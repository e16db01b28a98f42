"""`facedex review` in a terminal: keys, pictures or none, and that no terminal is an error; `join` and `not-a-face`."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facedex.gallery.gallery import Gallery
from facedex.library.groups import cluster
from facedex.photos import images
from tests.helpers import lines, near, one_line, save_face, scanned, seen_file
from tests.test_review import ADA, CY, HARDLY, ODD, PEOPLE, between, strangers

pytestmark = [
    pytest.mark.usefixtures("elsewhere"),
    pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals"),
]

THIRD = between(CY, PEOPLE[3], HARDLY)
PROMPT = b"[y/n/s/u/q] "


@pytest.fixture
def library(tmp_path):
    """A gallery in `index` with one unsure question, about drawn photos that are there."""
    files = []
    for name, person, count in (("ada", ADA, 6), ("odd", ODD, 4)):
        for n in range(count):
            path = save_face(tmp_path / "photos" / f"{name} {n}.jpg", count, side=200)
            os.utime(path, (1_000_000_000, 1_000_000_000))  # 2001-09-09
            digest = images.sha256(path.read_bytes() + bytes([n]))
            with open(path, "ab") as file:
                file.write(bytes([n]))  # photos that differ
            os.utime(path, (1_000_000_000, 1_000_000_000))
            files.append(seen_file(str(path), near(person, n, 0.2), photo=digest, quality=20.0 + n))
    with scanned(Path("index"), [*files, *strangers()]) as opened:
        cluster(opened)
    return tmp_path / "photos"


class Terminal:
    """`facedex review` in a terminal of 80 x 40 characters that answers DA1 with some features."""

    def __init__(self, *arguments, term="xterm", features="1;2", **environment):
        import fcntl
        import pty
        import struct
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 80, 640, 640))
        self._features, self.output = features, b""
        ours = ("TERM", "KITTY", "TMUX", "LC_", "DISPLAY", "WAYLAND_DISPLAY")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        root = str(Path(__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "facedex", "review", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**clean, "TERM": term, "PYTHONPATH": root, **environment},
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, text):
        """What was printed until a text came."""
        began, limit = len(self.output), time.monotonic() + 20
        while text not in self.output[began:]:
            assert time.monotonic() < limit, self.output
            if not select.select([self._ours], [], [], 0.2)[0]:
                if self._process.poll() is not None:
                    break
                continue
            try:
                got = os.read(self._ours, 65536)
            except OSError:  # the process has ended
                break
            if b"\x1b[c" in got and self._features is not None:
                os.write(self._ours, f"\x1b[?62;{self._features}c".encode())
            self.output += got
        return self.output[began:]

    def press(self, key, text=PROMPT):
        time.sleep(0.4)  # keys that come before the question waits for one are thrown away
        os.write(self._ours, key.encode())
        return self.until(text) if text else b""

    def end(self):
        """What else was printed, and the exit code."""
        rest = self.until(b"\0")
        os.close(self._ours)
        return rest, self._process.wait(20)


def groups():
    with Gallery("index") as opened:
        return {group.number: group.faces for group in cluster(opened) if group.faces > 1}


def test_yes_is_kept_and_the_review_ends(library):
    terminal = Terminal("--no-pictures")
    shown = terminal.until(PROMPT).decode()
    assert "1 question, the most useful first" in shown
    assert "Do groups 1 and 2 show one person? 4 faces" in shown
    assert f"left:  {library / 'ada'}" in shown
    assert f"right: {library / 'odd'}" in shown
    assert shown.count("(2001-09-09)") == 2
    terminal.press("y", b"")
    rest, code = terminal.end()
    assert code == 0
    assert b"no question is left" in rest
    assert b"1 yes" in rest
    assert groups() == {1: 10}


def test_keys_are_explained_undone_skipped_and_quit(library):
    terminal = Terminal("--no-pictures")
    terminal.until(PROMPT)
    assert b"undo the last answer" in terminal.press("?")
    assert b"is left to undo" in terminal.press("u")
    terminal.press("\x1b[A")  # an arrow is no answer
    terminal.press("n", b"")
    rest, code = terminal.end()
    assert (code, b"1 no" in rest) == (0, True)
    assert groups() == {1: 6, 2: 4}
    with Gallery("index") as opened:
        opened.undo()
    terminal = Terminal("--no-pictures")
    terminal.until(PROMPT)
    terminal.press("q", b"")
    rest, code = terminal.end()
    assert (code, b"no question was answered" in rest) == (0, True)


def test_an_answer_is_undone_in_the_same_review(library):
    with Gallery("index") as opened:
        with opened.changing_library() as store:
            third = [seen_file(f"/third/{n}.jpg", near(THIRD, n, 0.2)) for n in range(2)]
            store.library.save([*third, *(seen_file(f"/cy/{n}.jpg", near(CY, n, 0.2)) for n in range(3))])
        assert sorted(group.faces for group in cluster(opened) if group.faces > 1) == [2, 3, 4, 6]
    terminal = Terminal("--no-pictures")
    first = terminal.until(PROMPT)
    assert b"groups 1 and 2" in first
    assert b"groups 1 and 2" not in terminal.press("y")
    shown = terminal.press("u")
    assert b"undone: yes" in shown
    assert b"groups 1 and 2" in shown
    terminal.press("q", b"")
    rest, code = terminal.end()
    assert (code, b"no question was answered" in rest) == (0, True)
    assert sorted(groups().values()) == [2, 3, 4, 6]


def test_control_c_keeps_what_was_answered(library):
    terminal = Terminal("--no-pictures")
    terminal.until(PROMPT)
    terminal.press("\x03", b"")
    rest, code = terminal.end()
    assert (code, b"interrupted" in rest) == (130, True)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"term": "xterm-kitty"}, b"\x1b_Ga=T"),
        ({"LC_TERMINAL": "iTerm2"}, b"\x1b]1337;File=inline=1"),
        ({"features": "4;22"}, b'\x1bPq"1;1;'),
    ],
)
def test_terminals_that_can_show_pictures_get_one_of_both_faces(library, options, start):
    terminal = Terminal(**options)
    assert start in terminal.until(PROMPT)
    terminal.press("q", b"\n")
    assert terminal.end()[1] == 0


@pytest.mark.parametrize("features", ["1;2", None])
def test_a_plain_terminal_gets_paths_and_no_codes(library, features):
    terminal = Terminal(features=features)
    shown = terminal.until(PROMPT).replace(b"\x1b[c", b"")  # the question what it can do, which is not shown
    assert b"\x1b_G" not in shown
    assert b"\x1b]" not in shown
    assert b"\x1bP" not in shown
    assert b"left:  " in shown
    terminal.press("q", b"\n")
    assert terminal.end()[1] == 0


def test_a_page_shows_the_pictures_and_goes_with_the_review(library):
    terminal = Terminal("--page")
    shown = terminal.until(PROMPT).decode()
    path = Path(shown.split("on the page ")[1].split(";")[0])
    page = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert page.count("data:image/jpeg;base64,") == 2
    assert "Do groups 1 and 2 show one person?" in page
    terminal.press("q", b"\n")
    assert terminal.end()[1] == 0
    assert not path.parent.exists()


def test_a_photo_that_is_gone_is_named_and_the_review_goes_on(library):
    for path in library.glob("odd*"):
        path.unlink()
    terminal = Terminal(term="xterm-kitty")
    shown = terminal.until(PROMPT)
    assert b"the photo is not there any more" in shown
    assert b"\x1b_Ga=T" in shown  # the other one
    terminal.press("q", b"\n")
    assert terminal.end()[1] == 0


def test_without_a_terminal_it_is_one_clear_error(run, library):
    one_line(run("review"), "needs a terminal")
    assert run("review", "--page", "--no-pictures").code == 2


def test_groups_are_joined_and_marked_on_the_command_line(run, library):
    done = run("join", 2, 1)
    assert (done.code, done.out) == (0, "")
    assert "group 2 has 10 faces now" in done.err
    assert groups() == {2: 10}
    assert run("undo").code == 0
    assert groups() == {1: 6, 2: 4}
    assert "1 face left out from now on" in run("not-a-face", 2, library / "odd 0.jpg").err
    assert "3 faces left out" in run("not-a-face", 2).err
    assert groups() == {1: 6}
    assert "4 faces in group 2 again" in run("not-a-face", 2, "--undo").err
    assert groups() == {1: 6, 2: 4}
    kinds = [line["kind"] for line in lines(run("log", "--json").out)]
    assert kinds[-3:] == ["not-a-face", "not-a-face", "face-again"]
    one_line(run("join", 1, 1), "itself")
    one_line(run("join", 1, 99), "group 99")
    one_line(run("not-a-face", 1, "elsewhere.jpg"), "elsewhere.jpg has no face")
