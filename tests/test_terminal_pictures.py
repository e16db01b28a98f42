"""Pictures in terminals: which protocol is chosen, and that each one's text holds the picture."""

import base64
import io
import os
import re
import threading

import numpy as np
import pytest
from PIL import Image

from facedex.cli import terminal_pictures
from facedex.cli.sixel import sixels
from facedex.cli.terminal_pictures import by_environment, device_attributes, picture_protocol, shower


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "3"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "3"}, None),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "linux"}, None),
        ({}, None),
    ],
)
def test_the_environment_tells_the_protocol(environment, protocol):
    assert by_environment(environment) == protocol


def test_a_pipe_and_a_dumb_terminal_get_no_pictures(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-kitty")
    assert picture_protocol() is None  # pytest holds stderr
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert picture_protocol() == "kitty"
    monkeypatch.setenv("TERM", "dumb")
    assert picture_protocol() is None


def answering(answer):
    """The features of a terminal that gives this answer, and what it was asked."""
    pty = pytest.importorskip("pty", reason="needs a POSIX system")
    ours, theirs = pty.openpty()
    asked = []

    def terminal():
        asked.append(os.read(ours, 64))
        os.write(ours, answer)

    thread = threading.Thread(target=terminal)
    thread.start()
    try:
        return device_attributes(theirs), asked
    finally:
        thread.join()
        os.close(theirs)
        os.close(ours)


@pytest.mark.parametrize(
    ("answer", "features"),
    [
        (b"\x1b[?62;4;6c", ["4", "6"]),
        (b"typed ahead\x1b[?64;1;4;22c", ["1", "4", "22"]),
        (b"\x1b[?1;2c", ["2"]),
        (b"\x1b[?6c", []),
    ],
)
def test_a_terminal_is_asked_for_its_features(answer, features):
    found, asked = answering(answer)
    assert found == features
    assert asked == [b"\x1b[c"]


def test_a_terminal_that_does_not_answer_costs_less_than_a_second(monkeypatch):
    assert terminal_pictures._PATIENCE < 1
    assert answering(b"")[0] == answering(b"nonsense")[0] == []


def test_what_is_no_terminal_is_not_asked():
    reading, writing = os.pipe()
    try:
        assert device_attributes(reading) == []
    finally:
        os.close(reading)
        os.close(writing)


def drawn(text, height, width):
    """The pixels (height, width, 3) that a terminal would draw for a text of sixels."""
    body = re.fullmatch(r"\x1bPq(.*)\x1b\\", text, re.DOTALL)[1]
    head = re.match(r'"1;1;(\d+);(\d+)', body)
    assert (int(head[1]), int(head[2])) == (width, height)
    pixels, palette, colour, x, top = np.full((height, width, 3), -1.0), {}, None, 0, 0
    for part in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])", body[head.end() :]):
        if part[1]:
            palette[int(part[1])] = np.array([int(value) for value in part.groups()[1:4]]) * 2.55
        elif part[5]:
            colour = int(part[5])
        elif part[9]:
            x, top = 0, top + (6 if part[9] == "-" else 0)
        else:
            bits, times = ord(part[7] or part[8]) - 63, int(part[6] or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[top + row, x : x + times] = palette[colour]
            x += times
    return pixels


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 23), (64, 64)])
def test_sixels_hold_the_picture(size):
    height, width = size
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (height, 1)), np.full(size, 90), np.full(size, 200)], 2).astype(np.uint8)
    found = drawn(sixels(Image.fromarray(pixels)), height, width)
    assert found.min() >= 0  # every pixel was drawn
    assert np.abs(found - pixels).mean() < 8


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 180, 3)).astype(np.uint8))


def test_kitty_gets_the_picture_in_pieces(picture):
    text = shower("kitty")(picture)
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert len(commands) > 1
    assert max(len(data) for _, data in commands) <= 4096
    assert [keys.endswith("m=1") for keys, _ in commands] == [True] * (len(commands) - 1) + [False]
    assert "q=2" in commands[0][0]  # no answer, which would be taken for keys
    sent = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in commands))))
    np.testing.assert_array_equal(sent, picture)


def test_iterm2_gets_the_picture_in_one_piece(picture):
    form = r"\x1b\]1337;File=inline=1;width=\d+;preserveAspectRatio=1:(.*)\x07\n"
    found = re.fullmatch(form, shower("iterm2")(picture))
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(found[1]))), picture)


def test_a_wide_picture_is_reduced_to_the_terminal(monkeypatch, picture):
    monkeypatch.setenv("COLUMNS", "22")
    monkeypatch.setenv("LINES", "40")
    width, height = re.match(r'\x1bPq"1;1;(\d+);(\d+)', shower("sixel")(picture)).groups()
    assert (int(width), int(height)) == (160, 80)
