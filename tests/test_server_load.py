"""The benchmark of `facedex serve` and other packages' servers: its parts, and a short run without those packages."""

import json
import os
import subprocess
import sys
import threading
import time
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from facedex.errors import DataError
from scripts.benchmarks import server_load
from scripts.benchmarks.server_load import Verdict, judged, two_photos
from scripts.benchmarks.serving_peers import connected, deepface_names, form, running, usage
from tests.helpers import python, save_face

SERVER = "import sys, time; print('ready at http://127.0.0.1:4711', file=sys.stderr, flush=True); time.sleep(60)"


@pytest.fixture
def photos(tmp_path):
    """Photos of three people; the second one has a single photo."""
    for number, name in enumerate(("Ada", "Bob", "Cy")):
        save_face(tmp_path / "photos" / name / "1.png", number)
    for number, name in ((0, "Ada"), (2, "Cy")):
        save_face(tmp_path / "photos" / name / "2.png", number, side=200)
    return tmp_path / "photos"


def test_people_with_two_photos_are_taken(photos):
    pairs = two_photos(photos, 9)
    assert {name: [photo.key for photo in pair] for name, pair in pairs.items()} == {
        "Ada": ["Ada/1", "Ada/2"],
        "Cy": ["Cy/1", "Cy/2"],
    }
    assert list(two_photos(photos, 1)) == ["Ada"]


def test_a_folder_without_two_photos_of_anybody_is_refused(tmp_path):
    save_face(tmp_path / "Ada" / "1.png", 0)
    with pytest.raises(DataError, match="nobody with two photos"):
        two_photos(tmp_path, 9)


def test_each_photo_is_judged_once():
    people = ["Ada", "Bob", "Cy", "Di", "Eve"]
    answers = [(0, ["Ada", None]), (1, [None, "Ada"]), (1, ["Ada"]), (2, []), (3, [503]), (4, ["Eve", "Bob"])]
    assert judged(answers, people) == Verdict(wrong=1, beside=1, unnamed=1, failed=1)
    assert judged([(0, [None, "Ada"]), (0, ["Ada", "Ada"])], people) == Verdict(0, 0, 0, 0)


def test_a_form_holds_its_texts_and_the_photo():
    photo = bytes(range(256)) + b"\r\n--\r\n"
    body, kind = form("img", photo, k="1", img_name="Zoë")
    parts = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
    fields = {part.get_param("name", header="content-disposition"): part for part in parts}
    assert {name: part.get_payload(decode=True) for name, part in fields.items()} == {
        "k": b"1",
        "img_name": "Zoë".encode(),
        "img": photo,
    }
    assert fields["img"].get_filename() == "photo.jpg"


def test_answers_of_deepface_are_read():
    found = {"img_name": "Ada", "distance": 0.2, "threshold": 0.593}
    assert deepface_names(200, {"results": [[found], []]}) == ["Ada", None]
    assert deepface_names(200, {"inserted": 1}) == []
    assert deepface_names(400, {"error": "Exception while searching: Face could not be detected in the image"}) == []
    assert deepface_names(400, {"error": "no such table"}) == [400]


def test_a_server_is_found_by_the_address_that_it_writes_and_stopped():
    with running([sys.executable, "-c", SERVER]) as (process, port):
        assert port == 4711
        os.kill(process, 0)  # it runs
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_server_is_awaited_until_all_its_workers_run():
    words = ["http://127.0.0.1:4711", "up", "up"]
    code = f"import sys, time\nfor word in {words}: time.sleep(.2); print(word, file=sys.stderr)"
    begun = time.monotonic()
    with running([sys.executable, "-u", "-c", f"{code}\ntime.sleep(60)"], ready="up", times=2) as (_, port):
        assert port == 4711
        assert time.monotonic() - begun > 0.6
    with (
        pytest.raises(DataError, match="did not start"),
        running([sys.executable, "-c", code], ready="up", times=3),
    ):
        pass


def test_a_server_that_does_not_start_is_told_with_its_ready():
    code = "import sys; sys.exit('No module named gunicorn')"
    with (
        pytest.raises(DataError, match=r"did not start.*No module named gunicorn"),
        running([sys.executable, "-c", code]),
    ):
        pass


class Echo(BaseHTTPRequestHandler):
    """Answers with the length and the type of what was sent, and closes the connection."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        answer = json.dumps({"sent": len(self.rfile.read(length)), "type": self.headers["Content-Type"]}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_a_client_asks_again_after_the_server_closed_the_connection():
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        send = connected(server.server_port, "/", lambda status, answer: [status, answer["sent"], answer["type"]])
        assert [send(b"abc", "image/jpeg"), send(b"", "text/plain")] == [[201, 3, "image/jpeg"], [201, 0, "text/plain"]]
        server.shutdown()


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux")
def test_what_a_server_uses_includes_its_workers():
    busy = "import time; held = b'x' * 2**26\nwhile time.process_time() < 0.6: pass\nprint(1, flush=True); input()"
    child = f"subprocess.Popen([sys.executable, '-c', {busy!r}], stdout=-1)"
    for work, least in (("", 1), (f"{child}.stdout.readline()", 64)):
        code = f"import subprocess, sys\n{work}\nprint('up', flush=True)\nsys.stdin.read()"
        process = python(code, stdin=subprocess.PIPE)
        assert process.stdout.readline() == "up\n"
        memory, seconds = usage(process.pid)
        assert least <= memory < least + 60
        assert (least == 64) == (seconds >= 0.5)
        process.communicate("")
    assert usage(process.pid) == (0, 0)


def test_a_short_run_finds_the_names_of_the_library(photos, monkeypatch, capsys):
    pytest.importorskip("uvicorn", reason="needs the extra web")
    monkeypatch.setattr(server_load, "TURN", 0.5)
    monkeypatch.setattr(
        sys, "argv", ["server_load", str(photos), "--seconds", "0.5", "--clients", "2", "--model", "fast"]
    )
    with pytest.raises(SystemExit) as ended:
        server_load.main()
    library, server, used, last = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert library.startswith("library: ")
    assert server.startswith("server: 2 at once, ")
    assert all(
        "of 2 people 0 named as somebody else, 0 not named, 0 without an answer; 0 with" in line
        for line in (library, server)
    )
    assert "ms of processor time a photo" in used
    assert last.startswith("server / library: ")
    assert last.endswith("other answers than its: 0")
