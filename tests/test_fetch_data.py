"""Fetching photos from servers that stall, drip, break off, lie and refuse; and going on after being cut off."""

import csv
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facedex.data.dataset import load_faces
from facedex.errors import DataError
from facedex.photos.sources import open_people
from scripts import fetch_data
from scripts.fetching import lfw
from scripts.fetching.linklist import file_name, read_links
from scripts.fetching.polite import in_parallel, persist
from scripts.fetching.transfer import DiskError, Failure, Limits, get
from tests.helpers import drawn_face

ROOT = Path(__file__).parents[1]
QUICK = Limits(workers=8, pause=0, connect=2, read=0.4, total=1.2, tries=3, backoff=0.02, longest_wait=2)
PATIENT = replace(QUICK, read=2.0, total=20.0)  # where nothing is meant to run out of time, on a busy machine too
FLAGS = [*("--pause", "0", "--connect", "2", "--read", "0.4"), *("--total", "1.2", "--tries", "2")]


def jpeg(seed=0, side=240):
    buffer = io.BytesIO()
    Image.fromarray(drawn_face(seed, side)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


PHOTO = jpeg()
MD5 = hashlib.md5(PHOTO).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers /NAME as the function NAME says; remembers requests and how many were open at a time."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes, self.asked, self.open, self.most = {}, [], 0, 0
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def address(self, name, host="127.0.0.1"):
        return f"http://{host}:{self.server_address[1]}/{name}"

    def count(self, name):
        return sum(path == f"/{name}" for path, _ in self.asked)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.lock:
            self.server.asked.append((self.path, dict(self.headers)))
            self.server.open += 1
            self.server.most = max(self.server.most, self.server.open)
        try:
            self.server.routes[self.path.partition("?")[0][1:]](self)
        finally:
            with self.server.lock:
                self.server.open -= 1
            self.close_connection = True

    def log_message(self, *arguments):
        pass

    def answer(self, body=PHOTO, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def drip(self, data, pause):
        for byte in data:
            if self.server.ended.wait(pause):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()


def stall(handler):
    handler.answer(PHOTO[:100], length=len(PHOTO))
    handler.server.ended.wait(10)


def silence(handler):
    handler.server.ended.wait(10)


def drip(handler):
    handler.answer(b"", length=len(PHOTO))
    handler.drip(PHOTO, 0.02)


def truncate(handler):
    handler.answer(PHOTO[:-500], length=len(PHOTO))


def understate(handler):
    handler.answer(PHOTO, length=len(PHOTO) - 500)


def nonsense(handler):
    handler.wfile.write(b"\x00\x01 no HTTP at all\r\n\r\n")


def status(code, **headers):
    return lambda handler: handler.answer(b"<html>no</html>", code, **headers)


def redirect(to, code=302):
    return lambda handler: handler.answer(b"", code, Location=to)


def failing(times, then, code=503, **headers):
    """An error so many times, then an answer."""
    left = [times]

    def route(handler):
        with handler.server.lock:
            left[0] -= 1
            bad = left[0] >= 0
        (status(code, **headers) if bad else then)(handler)

    return route


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server()
    running.routes |= {
        "photo.jpg": Handler.answer,
        "stall": stall,
        "silence": silence,
        "drip": drip,
        "truncate": truncate,
        "understate": understate,
        "nonsense": nonsense,
        "gone": status(404),
        "broken": status(500),
        "page": lambda handler: handler.answer(b"<html>Sorry</html>" * 50),
        "moved": redirect("photo.jpg"),
        "loop": redirect("/loop2"),
        "loop2": redirect("/loop"),
        "elsewhere": redirect("file:///etc/passwd"),
        "empty": lambda handler: handler.answer(b""),
    }
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield running
    running.ended.set()
    running.shutdown()
    running.server_close()


def failure(server, name, tmp_path, limits=QUICK):
    with pytest.raises(Failure) as caught:
        persist(lambda: get(server.address(name), tmp_path / "file", limits), limits)
    assert not (tmp_path / "file").exists()
    return caught.value


# one file


def test_a_file_is_fetched_whole_and_nothing_is_left_beside_it(server, tmp_path):
    told = []
    get(server.address("photo.jpg"), tmp_path / "file", QUICK, lambda done, total: told.append((done, total)))
    assert (tmp_path / "file").read_bytes() == PHOTO
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert told[-1] == (len(PHOTO), len(PHOTO))


@pytest.mark.parametrize(
    ("name", "reason", "kind", "requests"),
    [
        ("gone", "HTTP 404", "dead", 1),
        ("broken", "HTTP 500", "again", 3),
        ("stall", "time-out", "again", 3),
        ("silence", "time-out", "again", 3),
        ("truncate", "cut off", "again", 3),
        ("nonsense", "cut off", "again", 3),
        ("drip", "too slow", "later", 1),
        ("loop", "redirect loop", "dead", 3),
        ("elsewhere", "bad address", "dead", 1),
    ],
)
def test_every_kind_of_failure_has_its_reason_and_only_passing_ones_are_tried_again(
    server, tmp_path, name, reason, kind, requests
):
    began = time.monotonic()
    found = failure(server, name, tmp_path)
    assert (found.reason, found.kind) == (reason, kind)
    assert server.count(name) == requests
    assert time.monotonic() - began < 3 * QUICK.total + 1


def test_a_chain_of_redirects_has_an_end(server, tmp_path):
    server.routes |= {f"hop{i}": redirect(f"/hop{i + 1}") for i in range(20)}
    assert failure(server, "hop0", tmp_path, PATIENT).reason == "too many redirects"
    assert len(server.asked) == QUICK.redirects + 1


def test_the_endless_body_of_a_redirect_is_not_read(server, tmp_path):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /photo.jpg\r\n\r\n")
        while not handler.server.ended.is_set():
            handler.wfile.write(b"x" * 1000)

    server.routes["endless"] = endless
    get(server.address("endless"), tmp_path / "file", QUICK)
    assert (tmp_path / "file").read_bytes() == PHOTO


def test_a_file_above_the_size_limit_is_refused_with_or_without_a_stated_length(server, tmp_path):
    def unannounced(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b"x" * 1000)

    server.routes["unannounced"] = unannounced
    small = Limits(**{**vars(QUICK), "max_bytes": 1000})
    assert failure(server, "photo.jpg", tmp_path, small).reason == "too large"
    assert failure(server, "unannounced", tmp_path, small).reason == "too large"
    assert list(tmp_path.iterdir()) == []


def test_no_server_and_no_host_and_no_address(tmp_path):
    def reason(url):
        with pytest.raises(Failure) as caught:
            get(url, tmp_path / "file", QUICK)
        return caught.value.reason

    assert reason("http://127.0.0.1:9/a.jpg") == "refused"
    assert reason("http://nobody.invalid/a.jpg") == "unknown host"
    for url in (
        "ftp://127.0.0.1/a.jpg",
        "no address",
        "http://",
        "http://[1/a",
        "http://a:99999/",
        f"http://{'a' * 70}/",
    ):
        assert reason(url) == "bad address", url


def test_an_address_with_spaces_and_umlauts_is_asked_for(server, tmp_path):
    server.routes["a%20%C3%A9%20b.jpg"] = Handler.answer
    get(server.address("a é%20b.jpg?x=1 2#top"), tmp_path / "file", QUICK)
    assert server.asked[0][0] == "/a%20%C3%A9%20b.jpg?x=1%202"


def test_what_was_cut_off_is_continued_if_it_is_still_the_same_file(server, tmp_path):
    asked = []

    def file(handler):
        have = handler.headers.get("Range")
        asked.append((have, handler.headers.get("If-Range")))
        if not have:
            handler.answer(PHOTO[:3000], length=len(PHOTO), ETag='"one"')
        else:
            start = int(have[6:-1])
            span = f"bytes {start}-{len(PHOTO) - 1}/{len(PHOTO)}"
            handler.answer(PHOTO[start:], 206, ETag='"one"', Content_Range=span)

    server.routes["file"] = file
    persist(lambda: get(server.address("file"), tmp_path / "file", QUICK), QUICK)
    assert asked == [(None, None), ("bytes=3000-", '"one"')]
    assert (tmp_path / "file").read_bytes() == PHOTO


@pytest.mark.parametrize("answer", ["whole", "another part", "416"])
def test_what_cannot_be_continued_is_begun_anew(server, tmp_path, answer):
    def file(handler):
        if not handler.headers.get("Range") or answer == "whole":
            handler.answer(PHOTO)
        elif answer == "416":
            handler.answer(b"", 416)
        else:
            handler.answer(PHOTO[50:], 206, Content_Range=f"bytes 50-{len(PHOTO) - 1}/{len(PHOTO)}")

    server.routes["file"] = file
    (tmp_path / "file.part").write_bytes(b"old" * 1000)
    (tmp_path / "file.tag").write_text('"old"')
    persist(lambda: get(server.address("file"), tmp_path / "file", QUICK), QUICK)
    assert (tmp_path / "file").read_bytes() == PHOTO


def test_a_disk_that_takes_nothing_is_not_the_servers_fault(server, tmp_path):
    (tmp_path / "file.part").mkdir()
    with pytest.raises(DiskError, match=r"file\.part"):
        get(server.address("photo.jpg"), tmp_path / "file", QUICK)


# many links


def all_of(server, names, limits=QUICK, host="127.0.0.1"):
    def work(name):
        with_path = Path(os.environ["FETCH_TMP"]) / f"{len(name)}-{name.replace('/', '_').replace('?', '_')}"
        get(server.address(name, host), with_path, limits)
        return "fetched"

    results = in_parallel(names, lambda name: server.address(name, host), work, limits)
    return {name: result if result == "fetched" else result.reason for name, result in results}


@pytest.fixture
def into(tmp_path, monkeypatch):
    monkeypatch.setenv("FETCH_TMP", str(tmp_path))


def test_a_host_sees_no_more_requests_at_a_time_than_allowed(server, into):
    def slow(handler):
        time.sleep(0.05)
        handler.answer()

    server.routes["slow"] = slow
    names = [f"slow?{i}" for i in range(12)]
    assert set(all_of(server, names, Limits(**{**vars(QUICK), "per_host": 3})).values()) == {"fetched"}
    assert server.most == 3


def test_two_requests_to_a_host_are_apart(server, into):
    names = [f"photo.jpg?{i}" for i in range(5)]
    began = time.monotonic()
    all_of(server, names, Limits(**{**vars(QUICK), "per_host": 1, "pause": 0.15}))
    assert time.monotonic() - began >= 4 * 0.15


def test_a_server_that_recovers_is_asked_again_with_growing_pauses(server, into):
    times = []

    def note(handler):
        times.append(time.monotonic())
        (status(503) if len(times) < 4 else Handler.answer)(handler)

    server.routes["flaky"] = note
    assert all_of(server, ["flaky"], Limits(**{**vars(QUICK), "tries": 4, "backoff": 0.2})) == {"flaky": "fetched"}
    for turn, gap in enumerate(np.diff(times)):
        assert 0.1 * 2**turn <= gap < 0.2 * 2**turn + 0.3


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_kept_by_all_requests_to_that_host_and_no_other(server, into, code):
    server.routes["busy"] = failing(1, Handler.answer, code, Retry_After="1")
    began = time.monotonic()
    done = {}

    def work(url):
        get(url, Path(os.environ["FETCH_TMP"]) / hashlib.md5(url.encode()).hexdigest(), QUICK)
        done[url] = time.monotonic() - began

    busy, same = server.address("busy"), server.address("photo.jpg?1")
    other = server.address("photo.jpg?2", "localhost")
    limits = Limits(**{**vars(QUICK), "per_host": 1})
    assert not any(isinstance(result, Failure) for _, result in in_parallel([busy, same, other], str, work, limits))
    assert done[busy] >= 1
    assert done[same] >= 1
    assert done[other] < 0.9


def test_a_pause_that_is_too_long_is_left_to_another_run(server, into):
    server.routes["busy"] = status(429, Retry_After="3600")
    names = ["busy", *(f"photo.jpg?{i}" for i in range(5))]
    began = time.monotonic()
    found = all_of(server, names, Limits(**{**vars(QUICK), "per_host": 1}))
    assert found == {"busy": "HTTP 429", **dict.fromkeys(names[1:], "host given up")}
    assert time.monotonic() - began < 2


def test_a_host_that_fails_in_a_row_is_given_up_and_others_are_not(server, into):
    server.routes |= {f"broken{i}": status(500) for i in range(30)}
    limits = replace(PATIENT, host_failures=4, tries=1, per_host=1)
    found = all_of(server, [f"broken{i}" for i in range(30)], limits)
    assert sorted(found.values()) == ["HTTP 500"] * 4 + ["host given up"] * 26
    assert len(server.asked) == 4
    server.routes |= {f"gone{i}": status(404) for i in range(30)}
    assert set(all_of(server, [f"gone{i}" for i in range(30)], limits).values()) == {"HTTP 404"}


def test_one_host_that_stalls_does_not_hold_up_another(server, into):
    limits = replace(PATIENT, per_host=1, tries=1)
    finished = []
    links = [server.address(f"stall?{i}") for i in range(2)] + [
        server.address(f"photo.jpg?{i}", "localhost") for i in range(6)
    ]

    def work(url):
        get(url, Path(os.environ["FETCH_TMP"]) / hashlib.md5(url.encode()).hexdigest(), limits)

    for url, _ in in_parallel(links, str, work, limits):
        finished.append(url)
    assert all("photo" in url for url in finished[:6])


def test_no_links_are_no_work():
    assert list(in_parallel([], str, lambda link: None, QUICK)) == []


def test_an_error_of_our_own_ends_the_run():
    def work(link):
        raise DiskError("full")

    with pytest.raises(DiskError, match="full"):
        list(in_parallel(["http://a/"] * 5, str, work, QUICK))


# lists


def write(path, *rows, header="# person\timagenum\turl\trect\tmd5sum"):
    path.write_text(
        "\n".join(["# a list of links", header, *("\t".join(map(str, row)) for row in rows)]) + "\n", "utf-8"
    )
    return path


def test_pubfigs_lists_are_read(tmp_path):
    path = write(
        tmp_path / "l.txt", ("Ann Bo", 1, "http://a/1.jpg", "10,20,110,140", MD5), ("Ann Bo", 7, "http://a/2.jpg")
    )
    (first, second), bad = read_links(path)
    assert (first.person, first.number, first.url, first.digest) == ("Ann Bo", 1, "http://a/1.jpg", MD5)
    assert first.rect == (10, 20, 110, 140)
    assert first.file == "Ann Bo/Ann Bo_0001.jpg"
    assert second.rect is None
    assert second.digest is None
    assert second.file == "Ann Bo/Ann Bo_0007.jpg"
    assert bad == []


def test_a_header_says_which_column_is_what(tmp_path):
    path = tmp_path / "faces.tsv"
    digest = "ab" * 32
    path.write_text(f"name\timage_id\tface_id\turl\tbbox\tsha256\nAnn\t3\t9\thttp://a/1\t1,2,3,4\t{digest}\n")
    ((link,), _) = read_links(path)
    assert (link.person, link.number, link.rect, link.digest) == ("Ann", 3, (1, 2, 3, 4), digest)


def test_numbers_that_are_missing_or_doubled_are_made_up_without_taking_anothers(tmp_path):
    rows = [("A", n, f"http://a/{i}") for i, n in enumerate(["2", "2", "", "x", "1", "123456"])]
    links, _ = read_links(write(tmp_path / "l.txt", *rows))
    assert [link.number for link in links] == [2, 3, 4, 5, 1, 6]


def test_lines_that_cannot_be_used_are_told_and_left_out(tmp_path):
    good = ("Ann", 1, "http://a/1")
    path = write(
        tmp_path / "l.txt",
        good,
        ("", 1, "http://a"),
        ("Bo", 1),
        ("Bo", 1, "http://a", "1,2,3"),
        ("Bo", 1, "http://a", "5,5,1,1"),
        ("Bo", 1, "http://a", "nan,0,1,1"),
        ("Bo", 1, "http://a", "", "xyz"),
        ("unknown", 1, "http://a"),
    )
    links, bad = read_links(path)
    assert [link.person for link in links] == ["Ann"]
    assert [sentence.split(" of ")[0] for sentence in bad] == [f"line {n}" for n in range(4, 11)]
    with pytest.raises(DataError, match="no links"):
        read_links(write(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="cannot be read"):
        read_links(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("person", "file"),
    [
        ("Ann Bo", "Ann Bo"),
        ("a/b: c.", "a_b_ c"),
        ("..", "_"),
        ("../../etc", "_._.._etc"),
        (".hidden", "_hidden"),
        ("CON", "CON_"),
        ("nul.txt", "nul.txt_"),
        ("Lpt1", "Lpt1_"),
        ("Connor", "Connor"),
        ('<>:"|?*', "_______"),
        ("李雷", "李雷"),
        ("C:\\x", "C__x"),
    ],
)
def test_names_are_files_everywhere(person, file):
    if person != "..":
        assert file_name(person) == file
    made = file_name(person)
    assert made
    assert not made.startswith(".")
    assert not set(made) & set('<>:"/\\|?*')
    assert made.rstrip(" .") == made
    assert len(f"{file_name(person * 300)}_0001.jpg".encode()) < 200


def test_people_whose_files_would_be_the_same_are_kept_apart(tmp_path):
    links, _ = read_links(write(tmp_path / "l.txt", *((name, 1, "http://a") for name in ("A/B", "A:B", "a_b", "A/B"))))
    assert [link.file.split("/")[0] for link in links] == ["A_B", "A_B-2", "a_b-3", "A_B"]


# the whole


def run(*arguments):
    return fetch_data.main([*map(str, arguments), *FLAGS])


def failures(out):
    with open(out / "failures.csv", newline="", encoding="utf-8") as file:
        return {row["url"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def test_a_list_becomes_people_and_every_failure_is_counted_by_reason(server, tmp_path, capsys):
    names = ["photo.jpg", "gone", "broken", "stall", "drip", "truncate", "understate", "page", "moved", "loop", "empty"]
    rows = [("Ann Bo", i, server.address(name), "60,40,180,200") for i, name in enumerate(names, 1)]
    rows += [
        ("Cy", 1, server.address("photo.jpg?a"), "60,40,180,200", "0" * 32),
        ("Cy", 2, server.address("photo.jpg?b"), "60,40,180,200", MD5),
        ("Cy", 3, server.address("photo.jpg?c"), "900,900,990,990", MD5),
    ]
    out = tmp_path / "out"
    assert run("list", write(tmp_path / "l.txt", *rows), out) == 1
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg")) == [
        "Ann Bo/Ann Bo_0001.jpg",
        "Ann Bo/Ann Bo_0009.jpg",
        "Cy/Cy_0002.jpg",
    ]
    assert {name: row["reason"] for name, row in failures(out).items()} == {
        "gone": "HTTP 404",
        "broken": "HTTP 500",
        "stall": "time-out",
        "drip": "too slow",
        "truncate": "cut off",
        "understate": "broken picture",
        "page": "not a picture",
        "loop": "redirect loop",
        "empty": "broken picture",
        "photo.jpg?a": "another file",
        "photo.jpg?c": "rectangle outside",
    }
    text = capsys.readouterr().out
    assert "3 of 14 photos" in text
    assert "2  broken picture" in text
    with Image.open(out / "Cy" / "Cy_0002.jpg") as image:  # the rectangle and half its size on every side
        assert image.size == (240, 240)
    with open_people(out) as photos:
        assert {photo.name for photo in photos} == {"Ann Bo", "Cy"}


def test_photos_already_fetched_and_dead_links_are_not_requested_again(server, tmp_path):
    names = ["photo.jpg", "gone", "broken"]
    rows = [("Ann", i, server.address(name), "60,40,180,200") for i, name in enumerate(names, 1)]
    path, out = write(tmp_path / "l.txt", *rows), tmp_path / "out"
    assert run("list", path, out) == 1
    server.asked.clear()
    server.routes["broken"] = Handler.answer
    assert run("list", path, out) == 1
    assert [asked for asked, _ in server.asked] == ["/broken"]
    assert list(failures(out)) == ["gone"]
    server.asked.clear()
    server.routes["gone"] = Handler.answer
    assert run("list", path, out, "--again") == 0
    assert [asked for asked, _ in server.asked] == ["/gone"]
    assert failures(out) == {}
    (out / "Ann" / "Ann_0001.jpg").unlink()
    server.asked.clear()
    assert run("list", path, out) == 0
    assert [asked for asked, _ in server.asked] == ["/photo.jpg"]


def test_a_run_that_was_killed_goes_on_where_it_was(server, tmp_path):
    enough = threading.Semaphore(6)

    def slowly(handler):
        if not enough.acquire(timeout=20):
            return
        handler.answer()

    server.routes["some"] = slowly
    rows = [("Ann", i, server.address(f"some?{i}"), "60,40,180,200", MD5) for i in range(1, 13)]
    path, out = write(tmp_path / "l.txt", *rows), tmp_path / "out"
    command = [sys.executable, "-m", "scripts.fetch_data", "list", str(path), str(out), "--read", "30"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = out / ".fetch" / "journal.jsonl"
    for _ in range(400):
        if journal.exists() and journal.read_text().count('"done"') == 6:
            break
        time.sleep(0.05)
    if os.name == "posix":
        os.kill(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()
    done = {json.loads(line)["url"] for line in journal.read_text().splitlines() if line}
    assert len(done) == 6
    with open(journal, "a") as file:
        file.write('{"file": "torn')
    server.asked.clear()
    for _ in range(100):
        enough.release()
    assert run("list", path, out) == 0
    assert len(list(out.rglob("*.jpg"))) == 12
    assert not any(server.address(asked[1:]) in done for asked, _ in server.asked)
    assert not [left for left in (out / ".fetch").iterdir() if left.suffix in (".part", ".tag")]


def test_the_face_in_the_rectangle_is_cut_out_and_not_the_largest(server, tmp_path):
    pixels = np.full((500, 800, 3), 120, np.uint8)
    pixels[50:450, 20:420] = drawn_face(1, 400)
    pixels[150:350, 550:750] = drawn_face(2, 200)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    server.routes["two.png"] = lambda handler: handler.answer(buffer.getvalue())
    address = server.address("two.png")
    path = write(
        tmp_path / "l.txt",
        ("Small", 1, address, "600,190,700,320"),
        ("Large", 1, address),
        ("Nobody", 1, address, "450,0,500,40"),
    )
    out = tmp_path / "out"
    assert run("list", path, out, "--crop", "face", "--margin", "0") == 1
    with Image.open(out / "Small/Small_0001.jpg") as small, Image.open(out / "Large/Large_0001.jpg") as large:
        assert small.width < 200 < large.width < 400
    assert [row["reason"] for row in failures(out).values()] == ["no face"]
    # Another --crop is another picture: all are made anew, and these are what `facedex train --aligned` reads.
    assert run("list", path, out, "--crop", "aligned") == 1
    with Image.open(out / "Small/Small_0001.jpg") as small:
        assert small.size == (128, 128)
    assert load_faces(out, tmp_path / "cache", aligned=True).names == ["Large", "Small"]
    assert run("list", path, out, "--crop", "none") == 0
    with Image.open(out / "Nobody/Nobody_0001.jpg") as whole:
        assert whole.size == (800, 500)


def test_a_line_without_a_rectangle_is_cut_by_the_detector(server, tmp_path):
    out = tmp_path / "out"
    wide = np.full((240, 900, 3), 90, np.uint8)
    wide[:, 300:540] = drawn_face(0)
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "JPEG")
    server.routes["wide"] = lambda handler: handler.answer(buffer.getvalue())
    assert run("list", write(tmp_path / "l.txt", ("Ann", 1, server.address("wide"))), out) == 0
    with Image.open(out / "Ann/Ann_0001.jpg") as image:
        assert image.width < 400


def test_where_the_photo_was_taken_is_not_kept(server, tmp_path):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    Image.fromarray(drawn_face(0)).save(buffer, "JPEG", exif=exif)
    server.routes["exif"] = lambda handler: handler.answer(buffer.getvalue())
    assert (
        run("list", write(tmp_path / "l.txt", ("Ann", 1, server.address("exif"))), tmp_path / "o", "--crop", "none")
        == 0
    )
    assert b"secret" in buffer.getvalue()
    assert b"secret" not in (tmp_path / "o/Ann/Ann_0001.jpg").read_bytes()


def test_nothing_fetched_and_no_list_are_exit_code_2(server, tmp_path, capsys):
    assert run("list", write(tmp_path / "l.txt", ("Ann", 1, server.address("gone"))), tmp_path / "o") == 2
    assert "HTTP 404" in capsys.readouterr().out
    assert run("list", tmp_path / "missing.txt", tmp_path / "o") == 2
    assert "missing.txt" in capsys.readouterr().err


def test_without_requests_one_line_names_the_extra(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    assert run("list", write(tmp_path / "l.txt", ("Ann", 1, server.address("photo.jpg"))), tmp_path / "o") == 2
    message = capsys.readouterr().err
    assert "facedex[fetch]" in message
    assert "Traceback" not in message


def test_two_runs_into_one_folder_are_refused(server, tmp_path, capsys):
    from filelock import FileLock

    (tmp_path / "o" / ".fetch").mkdir(parents=True)
    with FileLock(tmp_path / "o" / ".fetch" / "lock"):
        assert run("list", write(tmp_path / "l.txt", ("A", 1, server.address("gone"))), tmp_path / "o") == 2
    assert "Another run" in capsys.readouterr().err


def test_pubfig_is_its_two_lists(server, tmp_path):
    for name, person in (("dev_urls.txt", "Ann"), ("eval_urls.txt", "Bo")):
        path = write(tmp_path / name, (person, 4, server.address(f"photo.jpg?{person}"), "60,40,180,200", MD5))
        server.routes[f"pubfig/{name}"] = lambda handler, data=path.read_bytes(): handler.answer(data)
    out = tmp_path / "out"
    assert run("pubfig", out, "--mirror", server.address("pubfig/")) == 0
    assert sorted(path.name for path in out.rglob("*.jpg")) == ["Ann_0004.jpg", "Bo_0004.jpg"]
    server.asked.clear()
    assert run("pubfig", out, "--mirror", server.address("pubfig/")) == 0
    assert server.asked == []
    assert run("pubfig", tmp_path / "other", "--mirror", server.address("gone")) == 2


def test_a_page_in_the_place_of_a_list_is_not_kept(server, tmp_path, capsys):
    path = write(tmp_path / "l.txt", ("Ann", 4, server.address("photo.jpg"), "60,40,180,200", MD5))
    server.routes["wrong/dev_urls.txt"] = lambda handler: handler.answer(b"<html>This site has moved</html>")
    server.routes["right/dev_urls.txt"] = lambda handler: handler.answer(path.read_bytes())
    out = tmp_path / "out"
    assert run("pubfig", out, "--part", "dev", "--mirror", server.address("wrong/")) == 2
    assert "is no list of links; name another address" in capsys.readouterr().err
    assert run("pubfig", out, "--part", "dev", "--mirror", server.address("right/")) == 0


def test_a_file_of_unknown_length_that_is_broken_may_be_whole_in_another_run(server, tmp_path):
    def unannounced(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(PHOTO[:-500])
        handler.close_connection = True

    server.routes["cut"] = unannounced
    path = write(tmp_path / "l.txt", ("A", 1, server.address("cut")), ("B", 1, server.address("cut?"), "", MD5))
    assert run("list", path, tmp_path / "out") == 2
    assert "cut off" in (tmp_path / "out" / "failures.csv").read_text()
    assert "in the next run" in (tmp_path / "out" / "failures.csv").read_text()
    server.routes["cut"] = lambda handler: handler.answer()
    assert run("list", path, tmp_path / "out") == 0


# LFW


def archive(*members, photo=PHOTO):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as pack:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = len(photo)
            pack.addfile(info, io.BytesIO(photo))
        link = tarfile.TarInfo("lfw/Ann_Bo/Ann_Bo_0009.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        pack.addfile(link)
    return buffer.getvalue()


def test_lfw_comes_from_the_first_mirror_that_has_it_unaltered(server, tmp_path, capsys):
    data = archive(
        "lfw/Ann_Bo/Ann_Bo_0001.jpg",
        "lfw/Ann_Bo/Ann_Bo_0002.jpg",
        "lfw/Cy/Cy_0001.jpg",
        "lfw/Cy/Ann_0001.jpg",
        "lfw/../../Di/Di_0001.jpg",
        "../Eve/Eve_0001.jpg",
        "lfw/Cy/setup.py",
        "/abs/Fay/Fay_0001.jpg",
    )
    pairs = b"1\nAnn_Bo\t1\t2\nAnn_Bo\t1\tCy\t1\n"
    server.routes |= {
        "lfw.tgz": lambda handler: handler.answer(data),
        "altered": lambda handler: handler.answer(data[:-1] + b"x"),
        "pairs.txt": lambda handler: handler.answer(pairs),
    }
    addresses = tuple(server.address(name) for name in ("gone", "altered", "lfw.tgz", "photo.jpg"))
    published = lfw.Published("lfw.tgz", hashlib.md5(data).hexdigest(), addresses)
    listed = lfw.Published("pairs.txt", hashlib.md5(pairs).hexdigest(), (server.address("pairs.txt"),))
    out = tmp_path / "inner" / "out"
    assert lfw.fetch_lfw(out, "original", None, QUICK, published, (listed,)) == (6, 5)
    assert "HTTP 404" in (notices := capsys.readouterr().err)
    assert "another file" in notices
    assert (out / "Ann_Bo" / "Ann_Bo_0002.jpg").read_bytes() == PHOTO
    assert (out / "pairs.txt").read_bytes() == pairs
    assert not (out / "Ann_Bo" / "Ann_Bo_0009.jpg").exists()
    assert not list(tmp_path.rglob("setup.py"))
    assert {path.parent.parent for path in tmp_path.rglob("*.jpg")} == {out}
    assert server.count("photo.jpg") == 0
    server.asked.clear()
    assert lfw.fetch_lfw(out, "original", None, QUICK, published, (listed,)) == (6, 5)
    assert server.asked == []


def test_another_kind_of_lfw_takes_the_place_of_the_first_and_the_first_its_own_again(server, tmp_path):
    photos, kinds = {"original": PHOTO, "deepfunneled": jpeg(1)}, {}
    for kind, photo in photos.items():
        data = archive("lfw/Cy/Cy_0001.jpg", photo=photo)
        server.routes[kind] = lambda handler, data=data: handler.answer(data)
        kinds[kind] = lfw.Published(f"{kind}.tgz", hashlib.md5(data).hexdigest(), (server.address(kind),))
    for kind in ("deepfunneled", "original", "original", "deepfunneled"):
        assert lfw.fetch_lfw(tmp_path, kind, None, QUICK, kinds[kind], ()) == (1, 1)
        assert (tmp_path / "Cy" / "Cy_0001.jpg").read_bytes() == photos[kind]
    assert (server.count("deepfunneled"), server.count("original")) == (2, 1)


def test_lfw_that_no_mirror_has_is_a_data_error(server, tmp_path):
    nothing = lfw.Published("lfw.tgz", "0" * 32, (server.address("gone"), server.address("photo.jpg")))
    with pytest.raises(DataError, match=r"lfw.tgz cannot be fetched from any of 3 addresses; .*--mirror"):
        lfw.fetch_lfw(tmp_path, "original", server.address("gone"), QUICK, nothing, ())


def test_the_list_of_development_pairs_is_the_one_that_is_known(shared):
    listed = next(file for file in lfw.PAIRS if file.name == "pairsDevTest.txt")
    assert hashlib.md5((shared / "lfw" / "pairsDevTest.txt").read_bytes()).hexdigest() == listed.md5
