"""The server behind a real socket: addresses, slow clients, how it stops, and two of them on one gallery."""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.helpers import python
from tests.servers import FULL, httpx, jpeg, over_socket, photo, raw, served

from facedex.errors import DataError  # isort: skip
from facedex.gallery.gallery import Gallery  # isort: skip
from facedex.server import running  # isort: skip


def until(reached, seconds=20):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as made:
        made.bind(("::1", 0))
        return True
    return False


# The page in a browser


@pytest.mark.parametrize(
    ("options", "typed", "url", "opened"),
    [
        ((), True, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ((), False, "http://127.0.0.1:8000", None),
        (("--browser",), False, "http://0.0.0.0:80", "http://127.0.0.1:80"),
        (("--browser",), False, "http://[::]:80", "http://[::1]:80"),
        (("--no-browser",), True, "http://127.0.0.1:8000", None),
    ],
)
def test_the_page_opens_where_the_command_was_typed(run, monkeypatch, tmp_path, options, typed, url, opened):
    pages = queue.SimpleQueue()
    monkeypatch.setattr("facedex.cli.browser.has_desktop", lambda: True)
    monkeypatch.setattr("webbrowser.open", lambda page: pages.put(page) or True)
    monkeypatch.setattr("facedex.server.running.serve", lambda settings, ready: ready([url]))
    monkeypatch.setattr("facedex.cli.serve_commands.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: typed)))
    assert run("serve", "--gallery", tmp_path / "g", *options).code == 0
    if opened:
        assert pages.get(timeout=5) == opened
    else:
        time.sleep(0.1)
        assert pages.empty()


# Addresses


def test_it_listens_to_this_machine_alone_by_both_of_its_addresses(tmp_path):
    with over_socket(tmp_path / "g") as opened:
        port = opened.base_url.port
        for host in ["127.0.0.1", *(["[::1]"] if has_ipv6() else [])]:
            assert httpx.get(f"http://{host}:{port}/v1/health").json()["status"] == "ok"
        bound = {one.getsockname()[0] for server in opened.server.servers for one in server.sockets}
        assert bound <= {"127.0.0.1", "::1"}


def test_a_port_that_is_taken_is_an_error_with_its_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DataError, match=r"127\.0\.0\.1 port \d+ cannot .* choose another --port"):
            running.listen(("127.0.0.1",), taken.getsockname()[1])


def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(DataError, match="cannot be listened to"):
        running.listen(("192.0.2.1",), 0)


def test_another_address_has_a_token_made_and_printed_once(tmp_path):
    with served("-g", tmp_path / "g", "--address", "0.0.0.0") as process:
        text = "".join(process.lines)
        (token,) = re.findall(r"the token of this server, which is printed once: (\S+)", text)
        assert len(token) >= 40
        url = process.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/info").status_code == 401
        assert httpx.get(f"{url}/v1/info", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert httpx.get(f"{url}/v1/health", headers={"Host": "evil.example"}).status_code == 403


def test_the_largest_upload_is_an_option(tmp_path):
    with served("-g", tmp_path / "g", "--max-upload", "1") as process:
        headers = {"Content-Type": "image/jpeg"}
        assert httpx.get(f"{process.url}/v1/info").json()["limits"]["request_bytes"] == 2**20
        assert httpx.post(f"{process.url}/v1/detect", content=bytes(2**20 + 1), headers=headers).status_code == 413


def test_this_machine_alone_needs_no_token_but_keeps_to_one_that_is_given(tmp_path):
    with served("-g", tmp_path / "g", environment={"FACEDEX_TOKEN": FULL}) as process:
        assert "printed once" not in "".join(process.lines)
        assert FULL not in "".join(process.lines)
        assert httpx.get(f"{process.url}/v1/info").status_code == 401


# Slow clients


def test_a_request_whose_head_does_not_arrive_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "HEADER_SECONDS", 0.3)
    with over_socket(tmp_path / "g") as opened:
        address = str(opened.base_url)
        for data in (b"", b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"GET /v1/health HTTP/1.1\r\nX: "):
            begun = time.monotonic()
            raw(address, data)
            assert time.monotonic() - begun < 3
        with socket.create_connection(("127.0.0.1", opened.base_url.port), timeout=10) as connection:
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            connection.sendall(b"GET /v1")  # the head of a second request
            begun = time.monotonic()
            assert connection.recv(65536) == b""
            assert time.monotonic() - begun < 3


def test_a_body_that_does_not_arrive_is_given_up_and_holds_no_thread(tmp_path):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc"
    with over_socket(tmp_path / "g", limits={"idle_seconds": 0.5}) as opened:
        address, found = str(opened.base_url), []
        slow = [threading.Thread(target=lambda: found.append(raw(address, head))) for _ in range(12)]
        for one in slow:
            one.start()
        until(lambda: opened.guard.service.held.number == 12 * 3)
        assert opened.guard.service.photo_work.inside == 0
        assert opened.post("/v1/detect", files=[photo(0)]).status_code == 200
        for one in slow:
            one.join()
        assert all(b"408" in answer.split(b"\r\n")[0] and b"request_slow" in answer for answer in found)
        assert opened.guard.service.held.number == 0


def sent_slowly(opened, start, seconds=10):
    """Send bytes, and one more every 50 ms; returns the answer, and after how many seconds it or the end came."""
    with socket.create_connection(("127.0.0.1", opened.base_url.port), timeout=0.05) as connection:
        connection.sendall(start)
        begun, answer = time.monotonic(), b""
        while time.monotonic() - begun < seconds:
            with contextlib.suppress(TimeoutError):
                try:
                    part = connection.recv(65536)
                except ConnectionError:
                    break
                answer += part
                if not part or answer.endswith(b"}"):
                    break
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
        return answer, time.monotonic() - begun


def test_a_head_that_arrives_byte_by_byte_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "HEADER_SECONDS", 0.5)
    with over_socket(tmp_path / "g") as opened:
        answer, seconds = sent_slowly(opened, b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        assert answer == b""
        assert seconds < 8


def test_a_body_that_arrives_byte_by_byte_is_given_up(tmp_path):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    with over_socket(tmp_path / "g", limits={"body_seconds": 1.0, "idle_seconds": 60.0}) as opened:
        answer, seconds = sent_slowly(opened, head)
        assert answer.startswith(b"HTTP/1.1 408")
        assert seconds < 8
        until(lambda: opened.guard.service.held.number == 0)


def test_a_client_that_goes_away_leaves_nothing(tmp_path):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc"
    with over_socket(tmp_path / "g") as opened:
        with socket.create_connection(("127.0.0.1", opened.base_url.port)) as connection:
            connection.sendall(head)
            until(lambda: opened.guard.service.held.number == 3)
        until(lambda: opened.guard.service.held.number == 0)


def test_a_large_body_is_refused_with_an_answer_that_arrives(tmp_path):
    with over_socket(tmp_path / "g", limits={"request_bytes": 100_000}) as opened:
        answer = opened.post("/v1/detect", content=bytes(5_000_000), headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 413
        assert opened.get("/v1/health").status_code == 200


def test_a_body_that_is_declared_too_large_is_refused_before_it_arrives(tmp_path):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    with over_socket(tmp_path / "g") as opened:
        answer = raw(str(opened.base_url), head % 10**12)
        assert b"413" in answer.split(b"\r\n")[0]


def test_more_event_streams_than_allowed_are_refused(tmp_path):
    with over_socket(tmp_path / "g", limits={"listeners": 1}) as opened:
        with opened.stream("GET", "/v1/events") as first:
            lines = first.iter_lines()
            assert next(lines).startswith("retry")
            with opened.stream("GET", "/v1/events") as second:
                assert second.status_code == 503
        until(lambda: len(opened.guard.service.events) == 0)


# Events


def test_those_who_listen_hear_of_changes_and_scans(tmp_path):
    from tests.helpers import save_face

    save_face(tmp_path / "photos" / "a.png", 0)
    with (
        over_socket(tmp_path / "g", folders=(tmp_path / "photos",)) as opened,
        opened.stream("GET", "/v1/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        next(lines)
        opened.post("/v1/people", files=[photo(0)], data={"name": "Ada"})
        opened.post("/v1/scan")
        found, changed = {}, []
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found[kind] = json.loads(line.removeprefix("data: "))
                changed += [found["change"]["what"]] if kind == "change" else []
                if len(changed) == 2:
                    break
        assert changed == ["people", "library"]
        assert found["scan"]["new"] == 1
        assert "Ada" not in json.dumps(found)


def test_a_change_of_another_process_is_heard_of_too(tmp_path):
    with over_socket(tmp_path / "g") as opened, opened.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        code = "import sys, facedex; facedex.Gallery(sys.argv[1]).enroll('Ada', sys.argv[2])"
        (tmp_path / "a.jpg").write_bytes(jpeg(0))
        assert python(code, tmp_path / "g", tmp_path / "a.jpg").wait(60) == 0
        line = next(line for line in lines if line.startswith("data: "))
        assert json.loads(line.removeprefix("data: "))["what"] == "other"


# Stopping


def test_a_request_that_runs_is_finished_before_the_end(tmp_path):
    with over_socket(tmp_path / "g") as opened:
        service, begun, release = opened.guard.service, threading.Event(), threading.Event()
        real = service.gallery.enroll_all

        def slowly(*arguments, **options):
            begun.set()
            release.wait(20)
            return real(*arguments, **options)

        service.gallery.enroll_all = slowly
        answers = []

        def ask():
            answers.append(
                httpx.post(f"{opened.base_url}/v1/people", files=[photo(0)], data={"name": "Ada"}, timeout=20)
            )

        asking = threading.Thread(target=ask)
        with opened.stream("GET", "/v1/events") as events:  # an open stream does not keep it from stopping
            lines = events.iter_lines()
            next(lines)
            asking.start()
            assert begun.wait(20)
            opened.server.should_exit = True
            time.sleep(0.3)
            assert opened.thread.is_alive()
            release.set()
            opened.thread.join(20)
            assert list(lines) == [""]
        asking.join()
        assert not opened.thread.is_alive()
        assert answers[0].status_code == 201
    with Gallery(tmp_path / "g") as gallery:
        assert [person.name for person in gallery.people()] == ["Ada"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, sent):
    with served("-g", tmp_path / "g") as process:
        assert httpx.get(f"{process.url}/v1/health").status_code == 200
        process.send_signal(sent)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest


def test_no_header_of_a_proxy_is_believed_and_none_names_the_program(tmp_path):
    with served("-g", tmp_path / "g", environment={"FACEDEX_TOKEN": FULL}) as process:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
        answer = httpx.post(f"{process.url}/v1/session", json={"token": FULL}, headers=headers)
        assert "secure" not in answer.headers["set-cookie"].lower()
        assert "server" not in answer.headers


# Two servers


def test_two_servers_share_one_gallery(tmp_path):
    with over_socket(tmp_path / "g") as first, over_socket(tmp_path / "g") as second:
        assert first.post("/v1/people", files=[photo(0)], data={"name": "Ada"}).status_code == 201
        found = second.post("/v1/identify", files=[photo(0)]).json()["photos"][0]["faces"][0]
        assert found["name"] == "Ada"
        names = [(opened, f"P{number}", number + 1) for number, opened in enumerate([first, second] * 2)]
        answers = []

        def enroll(opened, name, seed):
            answers.append(opened.post("/v1/people", files=[photo(seed)], data={"name": name}).status_code)

        threads = [threading.Thread(target=enroll, args=one) for one in names]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert answers == [201] * 4
        assert second.get("/v1/people").json()["total"] == 5


@contextlib.contextmanager
def two_servers(folder):
    """Two servers in processes of their own, on one gallery; yields a client of each."""
    with served("-g", folder) as first, served("-g", folder) as second:
        for one in (first, second):
            threading.Thread(target=one.stderr.read, daemon=True).start()  # a full pipe would stop the server
        with httpx.Client(base_url=first.url, timeout=60) as a, httpx.Client(base_url=second.url, timeout=60) as b:
            yield a, b


def enrolls(opened, name, seed):
    answer = opened.post("/v1/people", files=[photo(seed)], data={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()["person"]["id"]


def is_sound(opened):
    return {one["state"] for one in opened.post("/v1/doctor").json()["findings"]} == {"sound"}


def names_in(opened):
    return sorted(person["name"] for person in opened.get("/v1/people?limit=1000").json()["people"])


def test_a_server_knows_what_another_acknowledged_at_once_and_tells_of_it_soon(tmp_path):
    with two_servers(tmp_path / "g") as (first, second), second.stream("GET", "/v1/events") as events:
        lines = events.iter_lines()
        next(lines)
        for number in range(3):
            person = enrolls(first, f"P{number}", number)
            acknowledged = time.monotonic()
            assert second.get(f"/v1/people/{person}").json()["name"] == f"P{number}"
            found = second.post("/v1/identify", files=[photo(number)]).json()["photos"][0]["faces"][0]
            assert found["name"] == f"P{number}"
            line = next(line for line in lines if line.startswith("data: "))
            assert json.loads(line.removeprefix("data: "))["what"] == "other"
            assert time.monotonic() - acknowledged < 10  # a second, where the machine is not busy


def test_sixteen_clients_of_two_servers_lose_no_enrolment(tmp_path):
    with two_servers(tmp_path / "g") as servers, ThreadPoolExecutor(16) as pool:
        sent = [(servers[number % 2], f"P{number:02}", number) for number in range(32)]
        assert len(set(pool.map(lambda one: enrolls(*one), sent))) == 32
        for one in servers:
            people = one.get("/v1/people?limit=1000").json()["people"]
            assert [(person["name"], person["photos"]) for person in people] == [(f"P{n:02}", 1) for n in range(32)]
            assert is_sound(one)


def test_undo_rename_and_merge_beside_another_servers_enrolments_keep_the_gallery_sound(tmp_path):
    with two_servers(tmp_path / "g") as (first, second), ThreadPoolExecutor(4) as pool:
        ids = [enrolls(second, f"old{number}", 100 + number) for number in range(4)]
        enrolled = [pool.submit(enrolls, first, f"P{number}", number) for number in range(12)]
        for number in range(3):
            assert second.patch(f"/v1/people/{ids[0]}", json={"name": f"new{number}"}).status_code == 200
            undone = second.post("/v1/undo").json()["undone"]
            assert undone["kind"] == "renamed"
        assert second.patch(f"/v1/people/{ids[0]}", json={"name": "kept"}).status_code == 200
        for source, into in ((1, 0), (3, 2)):
            answer = second.post(f"/v1/people/{ids[source]}/merge", json={"into": ids[into]})
            assert answer.json()["moved"] == 1
        assert second.post("/v1/undo").json()["undone"]["kind"] == "merged"
        for one in enrolled:
            one.result()
        for one in (first, second):
            assert names_in(one) == sorted([*(f"P{number}" for number in range(12)), "kept", "old2", "old3"])
            assert is_sound(one)


@pytest.mark.parametrize(
    ("method", "path", "sent", "left"),
    [
        ("PATCH", "/v1/people/1", {"json": {"name": "Eve"}}, {1: ("Cy", 1), 2: ("Ada", 1)}),
        ("DELETE", "/v1/people/1", {}, {2: ("Ada", 1)}),
        ("POST", "/v1/people/1/merge", {"json": {"into": 2}}, {2: ("Ada", 2)}),
        ("POST", "/v1/people/1/faces", {"files": [photo(2)]}, {1: ("Cy", 2), 2: ("Ada", 1)}),
    ],
)
def test_a_change_concerns_the_person_with_this_id_whatever_another_server_renames(tmp_path, method, path, sent, left):
    """The other server gives the name of person 1 to person 2, after the first has looked the name up."""
    with over_socket(tmp_path / "g") as first, over_socket(tmp_path / "g") as second:
        enrolls(first, "Ada", 0), enrolls(first, "Bob", 1)
        gallery = first.guard.service.gallery
        real = gallery.person

        def rename():
            for person, name in ((1, "Cy"), (2, "Ada")):
                second.patch(f"/v1/people/{person}", json={"name": name})

        renaming = threading.Thread(target=rename)

        def looked_up(person):
            found = real(person)
            if "changes" in threading.current_thread().name and not renaming.ident:
                renaming.start()
                renaming.join(3)  # until they are done, or wait for the first server
            return found

        gallery.person = looked_up
        assert first.request(method, path, **sent).is_success
        renaming.join()
        people = second.get("/v1/people").json()["people"]
        assert {person["id"]: (person["name"], person["photos"]) for person in people} == left


# The command


def test_no_other_command_loads_anything_of_the_server():
    code = """
import sys, facedex.cli
from facedex.cli import application
application("identify"), application()
import facedex.gallery.gallery, facedex.library.groups, facedex.results
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"fastapi", "starlette", "uvicorn", "pydantic", "multipart", "python_multipart"}))
print([name for name in sys.modules if name.startswith("facedex.server")])
"""
    out, errors = python(code).communicate()
    assert out.splitlines() == ["[]", "[]"], errors


def test_without_the_extra_it_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["uvicorn"] = None
sys.argv = ["facedex", "serve", "-g", sys.argv[1]]
from facedex.cli import main
main()
"""
    process = python(code, tmp_path / "g")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.strip() == "facedex: serve needs packages that are not installed; run: pip install 'facedex[web]'"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--address", "localhost"], "localhost is no IP address"),
        (["--token", "short"], "A token has at least 16"),
        (["--scan", "missing"], "missing is no folder"),
        (["--read-token", "a-read-token-of-a-test"], "A read token needs a full token"),
    ],
)
def test_options_that_cannot_be_used_end_it_in_one_line(tmp_path, options, text):
    command = [sys.executable, "-m", "facedex", "serve", "-g", str(tmp_path / "g"), *options]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    assert run.returncode == 2
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "g").exists()
