"""Clients that are slow, that lie, that go away or that never read: none of them takes the server from others."""

import contextlib
import json
import socket
import struct
import threading
import time

import pytest

from tests.helpers import python
from tests.servers import FULL, READ, client, httpx, jpeg, over_socket, photo, raw

from facedex.server import running  # isort: skip

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/detect HTTP/1.1\r\n" + HOST + b"Content-Type: image/jpeg\r\n"


def until(reached, seconds=20):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def connected(opened):
    return socket.create_connection(("127.0.0.1", opened.base_url.port), timeout=10)


def reset(connection):
    """Close a connection without a farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def body_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# Clients that never read


def test_a_client_that_never_reads_its_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "STALLED_SECONDS", 0.5)
    with over_socket(tmp_path / "g") as opened:
        with contextlib.ExitStack() as stack:
            greedy = stack.enter_context(connected(opened))
            greedy.settimeout(0.2)
            with contextlib.suppress(OSError):  # answers of megabytes wait until the client's buffers are full
                for _ in range(3000):
                    greedy.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n")
            until(lambda: not opened.server.server_state.connections, 10)
        assert opened.get("/v1/health").status_code == 200


def test_a_listener_that_never_reads_stops_no_other_and_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "STALLED_SECONDS", 0.5)
    with over_socket(tmp_path / "g") as opened:
        events = opened.guard.service.events
        with connected(opened) as deaf, opened.stream("GET", "/v1/events") as answer:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
            lines = answer.iter_lines()
            next(lines)
            until(lambda: len(events) == 2)
            heard = threading.Thread(target=lambda: [next(lines) for _ in range(20)])
            heard.start()
            end = time.monotonic() + 20
            while len(events) == 2 and time.monotonic() < end:
                events.publish("scan", {"state": "x" * 100_000})
                time.sleep(0.01)
            heard.join(10)
            assert not heard.is_alive()
            assert len(events) == 1


def test_listeners_that_go_at_once_leave_no_place_taken(tmp_path):
    with over_socket(tmp_path / "g", limits={"listeners": 8}) as opened:
        for _ in range(60):
            gone = connected(opened)
            gone.sendall(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
            reset(gone)

        def is_free():
            with opened.stream("GET", "/v1/events") as answer:
                return answer.status_code == 200

        until(is_free, 10)
        until(lambda: len(opened.guard.service.events) == 0, 10)


def test_a_hundred_clients_hear_every_event(tmp_path):
    with over_socket(tmp_path / "g") as opened, contextlib.ExitStack() as stack:
        events, listening = opened.guard.service.events, []
        for _ in range(100):
            one = stack.enter_context(connected(opened))
            one.sendall(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
            listening.append(one)
        until(lambda: len(events) == 100)
        for number in range(50):
            events.publish("scan", {"number": number})
        for one in listening:
            heard = b""
            while b'{"number": 49}' not in heard:
                part = one.recv(65536)
                assert part
                heard += part
            assert [b'{"number": %d}' % number in heard for number in range(50)] == [True] * 50
        assert opened.get("/v1/health").status_code == 200


# Clients that read a little at a time


def trickling(opened, path, stack):
    """A connection with small buffers, whose answer has begun."""
    made = stack.enter_context(socket.socket())
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(10)
    made.connect(("127.0.0.1", opened.base_url.port))
    made.sendall(f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert made.recv(64).startswith(b"HTTP/1.1 200")
    return made


def read_slowly(connection, seconds):
    """Read at most 160 KiB a second; returns after how many seconds the server closed the connection, else None."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        try:
            if not connection.recv(16_384):
                return passed
        except OSError:
            return passed
        time.sleep(0.1)
    return None


def fill(opened):
    """Publish events until every connection waits for its client."""

    def are_full():
        opened.guard.service.events.publish("scan", {"state": "x" * 100_000})
        return all(one._stalled is not None for one in opened.server.server_state.connections)

    until(are_full)


@pytest.mark.parametrize("path", ["/v1/backup", "/v1/events"])
def test_a_client_that_reads_too_slowly_is_given_up(tmp_path, monkeypatch, path):
    monkeypatch.setattr(running, "STALLED_SECONDS", 1.0)
    with over_socket(tmp_path / "g", model="default") as opened, contextlib.ExitStack() as stack:  # 15 MB of backup
        slow = trickling(opened, path, stack)
        if path == "/v1/events":
            fill(opened)
        assert read_slowly(slow, 15) is not None
        until(lambda: not opened.server.server_state.connections, 5)
        service = opened.guard.service
        assert (len(service.events), len(service._backups)) == (0, 0)
        assert opened.get("/v1/health").status_code == 200


def test_a_client_that_reads_fast_enough_is_not_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "STALLED_SECONDS", 2.0)
    monkeypatch.setattr(running, "LEAST_READ", 10_000)
    with over_socket(tmp_path / "g", model="default") as opened, contextlib.ExitStack() as stack:
        assert read_slowly(trickling(opened, "/v1/backup", stack), 7) is None
        assert opened.server.server_state.connections


def test_clients_that_read_slowly_hold_no_thread_and_no_lock_and_delay_nobody(tmp_path, monkeypatch):
    def identify(opened):
        begun = time.perf_counter()
        assert opened.post("/v1/identify", files=[photo(0)]).status_code == 200
        return time.perf_counter() - begun

    monkeypatch.setattr(running, "STALLED_SECONDS", 600.0)
    with over_socket(tmp_path / "g", model="default") as opened, contextlib.ExitStack() as stack:
        service = opened.guard.service
        assert opened.post("/v1/people", files=[photo(0)], data={"name": "Ada"}).status_code == 201
        before = sorted(identify(opened) for _ in range(9))[4]
        slow = [trickling(opened, "/v1/backup", stack) for _ in range(2)]
        slow += [trickling(opened, "/v1/events", stack) for _ in range(60)]
        for _ in range(150):
            service.events.publish("scan", {"state": "x" * 100_000})
        until(lambda: sum(one._stalled is not None for one in opened.server.server_state.connections) == 62)
        for one in slow:
            one.recv(1)
        lanes = (service.photo_work, service.lookups, service.pictures, service.changes)
        assert [lane.inside for lane in lanes] == [0] * 4
        assert all(queue.qsize() <= 101 for queue in service.events._queues)
        assert sorted(identify(opened) for _ in range(9))[4] < 3 * before + 0.1
        assert opened.post("/v1/people", files=[photo(1)], data={"name": "Bob"}).status_code == 201
        assert python(ENROLL, tmp_path / "g").wait(60) == 0  # another process writes, too
        heard = b""
        while b"event: reset" not in heard:  # a listener that missed events is told to read everything anew
            heard = heard[-20:] + slow[-1].recv(65536)


ENROLL = """
import sys, facedex
from tests.helpers import drawn_face
with facedex.Gallery(sys.argv[1]) as gallery:
    gallery.enroll("Cy", drawn_face(2))
"""


def test_clients_that_read_slowly_give_way_to_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "CONNECTIONS", 10)
    with over_socket(tmp_path / "g") as opened, contextlib.ExitStack() as stack:
        for _ in range(10):
            trickling(opened, "/v1/events", stack)
        fill(opened)
        for _ in range(5):
            assert httpx.get(f"{opened.base_url}/v1/health").status_code == 200


def test_the_system_holds_little_of_an_answer_that_nobody_reads(tmp_path):
    with over_socket(tmp_path / "g", model="default") as opened, contextlib.ExitStack() as stack:
        trickling(opened, "/v1/backup", stack)
        (connection,) = opened.server.server_state.connections
        until(lambda: connection._stalled is not None)
        assert connection._sent < 2 * 2**20


def test_two_backups_are_sent_at_a_time_and_their_files_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    with over_socket(tmp_path / "g", model="default") as opened:
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                trickling(opened, "/v1/backup", stack)
            answer = opened.get("/v1/backup")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_busy")
            assert int(answer.headers["retry-after"]) > 0
        until(lambda: not list((tmp_path / "work").iterdir()))
        assert opened.get("/v1/backup").status_code == 200
        until(lambda: not list((tmp_path / "work").iterdir()))


def test_a_client_that_reads_slowly_does_not_keep_the_server_from_stopping(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    with contextlib.ExitStack() as stack:
        with over_socket(tmp_path / "g", grace=1, model="default") as opened:
            slow = trickling(opened, "/v1/backup", stack)
            opened.server.should_exit = True
            assert read_slowly(slow, 15) is not None
            opened.thread.join(10)
            assert not opened.thread.is_alive()
        assert list((tmp_path / "work").iterdir()) == []
    assert not [record for record in caplog.records if record.exc_info]


def test_a_backup_that_fails_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    with client(tmp_path / "g") as opened:
        (tmp_path / "g" / "gallery.db").rename(tmp_path / "away.db")
        assert opened.get("/v1/backup").json()["error"]["code"] == "gallery_not_found"
        assert list((tmp_path / "work").iterdir()) == []
        (tmp_path / "away.db").rename(tmp_path / "g" / "gallery.db")


# Many connections


def test_idle_connections_give_way_to_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "CONNECTIONS", 20)
    starts = (b"", b"GET /v1/health HTTP/1.1\r\nX: ", POST + b"Content-Length: 1000\r\n\r\nabc")
    with over_socket(tmp_path / "g") as opened, contextlib.ExitStack() as stack:
        for number in range(60):
            slow = stack.enter_context(connected(opened))
            slow.sendall(starts[number % 3])
        for _ in range(5):
            with connected(opened) as honest:
                honest.sendall(b"GET /v1/health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
                assert honest.recv(65536).startswith(b"HTTP/1.1 200")
        assert len(opened.server.server_state.connections) <= 20


def test_connections_that_all_listen_are_refused_with_the_one_form_of_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "CONNECTIONS", 3)
    with over_socket(tmp_path / "g") as opened, contextlib.ExitStack() as stack:
        for _ in range(3):
            listening = stack.enter_context(connected(opened))
            listening.sendall(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
        until(lambda: len(opened.guard.service.events) == 3)
        answer = opened.get("/v1/health")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_busy")
        assert int(answer.headers["retry-after"]) > 0


# Bodies that lie


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 5\r\n\r\nabc",
        POST + b"Content-Length: 60000000\r\n\r\n" + bytes(1000),
        POST + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
        POST.replace(b"image/jpeg", b"multipart/form-data; boundary=x")
        + b'Content-Length: 9000\r\n\r\n--x\r\nContent-Disposition: form-data; name="p"; filename="p"\r\n\r\nabc',
    ],
)
@pytest.mark.parametrize("farewell", [reset, lambda one: one.shutdown(socket.SHUT_WR), socket.socket.close])
def test_a_body_that_is_cut_off_leaves_nothing(tmp_path, data, farewell):
    with over_socket(tmp_path / "g") as opened:
        service = opened.guard.service
        with connected(opened) as cut:
            cut.sendall(data)
            until(lambda: service.held.number > 0 or b"Transfer" in data)
            farewell(cut)
            until(lambda: service.held.number == 0 and not opened.server.server_state.connections, 10)
        assert service.photo_work.inside == 0
        assert opened.get("/v1/health").status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1e3\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        POST + b"Content-Length: 0x10\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        POST
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/backup HTTP/1.1\r\n"
        + HOST
        + b"\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /v1/health HTTP/1.1\r\n" + HOST + b" folded: x\r\n" + b"X : y\r\n\r\n",
        b"GET /v1/he\x00alth HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_clear_request_is_refused_in_the_one_form_and_the_connection_closed(tmp_path, head):
    with over_socket(tmp_path / "g") as opened:
        begun = time.monotonic()
        answer = raw(str(opened.base_url), head)
        assert time.monotonic() - begun < 4  # the server closed the connection
        assert answer.count(b"HTTP/1.1 ") == 1  # a request hidden in a body is not answered
        assert answer.split()[1] in (b"400", b"413")
        assert body_of(answer)["error"]["code"] in ("request_invalid", "request_too_large")
        assert b"nosniff" in answer


def test_a_request_whose_length_is_told_twice_changes_nothing(tmp_path):
    head = b"POST /v1/undo HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with over_socket(tmp_path / "g") as opened:
        answer = raw(str(opened.base_url), head)
        assert answer.startswith(b"HTTP/1.1 400")
        assert "told twice" in body_of(answer)["error"]["message"]


def test_a_head_without_end_is_refused_while_it_arrives(tmp_path):
    with over_socket(tmp_path / "g") as opened:
        with connected(opened) as endless, pytest.raises(OSError, match=r"reset|pipe|aborted"):
            endless.sendall(b"GET /" + b"x" * 100_000_000)
        assert opened.get("/v1/health").status_code == 200


def test_a_body_that_breaks_after_its_answer_is_no_fault(tmp_path, caplog):
    with over_socket(tmp_path / "g") as opened:
        with connected(opened) as rude:
            rude.sendall(b"POST /v1/nothing HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += rude.recv(65536)
            assert answer.startswith(b"HTTP/1.1 404")
            rude.sendall(b"zz\r\nabc")
            assert rude.recv(65536) == b""
        until(lambda: not opened.server.server_state.connections)
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


def test_thousands_of_parts_and_fields_are_refused_early(tmp_path):
    part = b'--x\r\nContent-Disposition: form-data; name="p"%b\r\n\r\nx\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with client(tmp_path / "g") as opened:
        for more in (b"", b'; filename="f"'):
            begun = time.process_time()
            answer = opened.post("/v1/detect", content=part % more * 100_000 + b"--x--\r\n", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
            assert time.process_time() - begun < 2


# Requests that claim to be others


@pytest.mark.parametrize(
    "header",
    [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Prefix",
        "X-HTTP-Method-Override",
        "X-Forwarded-Host",
        "Forwarded",
    ],
)
def test_no_header_changes_which_route_answers(tmp_path, header):
    with client(tmp_path / "g", token=FULL, read_token=READ) as opened:
        values = {"X-HTTP-Method-Override": "DELETE", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil"}
        sent = {header: values.get(header, "/v1/health")}
        assert opened.get("/v1/people", headers=sent).status_code == 401
        assert opened.get("/v1/people/1", headers={**sent, "Authorization": f"Bearer {READ}"}).status_code == 404
        answer = opened.get("/v1/health", headers={header: "/v1/backup"})
        assert answer.json()["status"] == "ok"


@pytest.mark.parametrize(
    "target", ["http://evil.example/v1/people", "http://127.0.0.1/v1/people", "*", "/v1/%2e%2e/v1/people"]
)
def test_a_target_in_another_form_reaches_nothing(tmp_path, target):
    with over_socket(tmp_path / "g", token=FULL) as opened:
        head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        assert raw(str(opened.base_url), head).split()[1] in (b"400", b"401", b"404")


def test_scripts_in_names_come_back_as_data_alone(tmp_path):
    script = "<script>alert(1)</script>"
    with client(tmp_path / "g") as opened:
        assert opened.post("/v1/people", files=[photo(0)], data={"name": script}).status_code == 201
        for answer in (
            opened.get("/v1/people"),
            opened.get("/v1/people/1"),
            opened.post("/v1/identify", content=jpeg(0), headers={"Content-Type": "image/jpeg"}),
            opened.post("/v1/detect", files=[photo(0, name=f"{script}.jpg")]),
            opened.get(f"/v1/{script}"),
        ):
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert opened.get("/v1/people").json()["people"][0]["name"] == script


def test_a_header_of_an_answer_holds_nothing_of_the_request(tmp_path):
    with client(tmp_path / "g") as opened:
        answer = opened.get("/v1/people/x%0d%0aSet-Cookie:%20a=b?q=%0d%0aX-Evil:%201")
        assert "set-cookie" not in answer.headers
        assert "x-evil" not in answer.headers


# Many processes


def test_eight_processes_read_one_gallery_while_the_server_writes(tmp_path):
    """Each reader sees every change whole: a person comes with one photo, and the number of people never falls."""
    code = """
import sys, facedex
with facedex.Gallery(sys.argv[1]) as gallery:
    print("ready", flush=True)
    seen, last = 0, int(sys.argv[2])
    while seen < last:
        people = gallery.people()
        assert len(people) >= seen and all(person.photos == 1 for person in people)
        seen = len(people)
print(seen, flush=True)
"""
    with over_socket(tmp_path / "g") as opened:
        readers = [python(code, tmp_path / "g", 6) for _ in range(8)]
        for one in readers:
            assert one.stdout.readline() == "ready\n"
        for number in range(6):
            answer = opened.post("/v1/people", files=[photo(number)], data={"name": f"P{number}"})
            assert answer.status_code == 201
        for one in readers:
            out, errors = one.communicate(timeout=60)
            assert (one.returncode, out) == (0, "6\n"), errors


def test_a_listener_that_leaves_before_its_first_event_leaves_no_place_taken(tmp_path):
    import asyncio

    with client(tmp_path / "g") as opened:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": "/v1/events",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "state": {},
        }

        async def receive():
            return {"type": "http.disconnect"}

        async def send(_):
            raise OSError("the client is gone")

        asyncio.run(opened.guard(scope, receive, send))
        assert len(opened.guard.service.events) == 0
