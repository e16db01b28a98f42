"""The guard: hosts, origins, tokens, headers, caps, and what never leaves."""

import base64
import hmac
import json
import logging
import re
import sqlite3
import time
import zlib

import pytest

from facedex import errors
from tests.servers import BASE, FULL, READ, client, jpeg, photo

from facedex.server import refusals  # isort: skip
from facedex.server.access import COOKIE, FULL as FULL_ACCESS, OPEN  # isort: skip


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with client(tmp_path_factory.mktemp("local") / "g") as opened:
        yield opened


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    with client(tmp_path_factory.mktemp("tokens") / "g", token=FULL, read_token=READ) as opened:
        yield opened


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def code(answer):
    return answer.json()["error"]["code"]


# Hosts


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.2", "", "localhost@evil.example", "a b"],
)
def test_a_request_for_another_host_is_refused(local, host):
    answer = local.get("/v1/health", headers={"Host": host})
    assert (answer.status_code, code(answer)) == (403, "request_refused")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machine_is_reached_by_its_own_names(local, host):
    assert local.get("/v1/health", headers={"Host": host}).status_code == 200


def test_a_host_that_was_allowed_is_answered(tmp_path):
    with client(tmp_path / "g", hosts=("Photos.Example",)) as opened:
        assert opened.get("/v1/health", headers={"Host": "photos.example:80"}).status_code == 200
        assert opened.get("/v1/health", headers={"Host": "other.example"}).status_code == 403


def test_the_host_is_checked_for_the_page_too(local):
    assert local.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_two_host_headers_are_refused(local):
    request = local.build_request("GET", "/v1/health")
    request.headers = type(request.headers)([*request.headers.multi_items(), ("host", "evil.example")])
    assert local.send(request).status_code == 403


# Origins


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/undo"), ("GET", "/v1/people"), ("GET", "/v1/backup")])
def test_a_page_of_another_site_is_refused(local, method, path, headers):
    answer = local.request(method, path, headers=headers)
    assert (answer.status_code, code(answer)) == (403, "request_refused")


@pytest.mark.parametrize("headers", [{"Origin": BASE, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}])
def test_its_own_page_and_programs_are_answered(local, headers):
    assert local.post("/v1/undo", headers=headers).status_code == 200


def test_a_link_of_another_site_opens_the_page_alone(local):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert local.get("/", headers=headers).status_code == 200
    assert local.get("/v1/info", headers=headers).status_code == 403
    assert local.post("/", headers=headers).status_code == 403


def test_no_answer_allows_another_site_to_read_it(local):
    answer = local.get("/v1/info", headers={"Origin": BASE})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert local.options("/v1/people", headers={"Access-Control-Request-Method": "POST"}).status_code == 405


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_form_of_another_site_cannot_pass_for_a_photo_or_for_json(local, kind):
    headers = {"Content-Type": kind}
    assert local.post("/v1/identify", content=jpeg(0), headers=headers).status_code == 415
    assert local.patch("/v1/people/1", content=b'{"name": "x"}', headers=headers).status_code == 400


# Headers


@pytest.mark.parametrize("path", ["/", "/v1/info", "/v1/nothing", "/openapi.json", "/reference", "/metrics"])
def test_every_answer_carries_the_headers_of_safety(local, path):
    headers = local.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'self'",
        "img-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-request-id"]


def test_refusals_carry_them_too(local):
    refused = local.get("/", headers={"Host": "evil.example"}).headers
    assert refused["content-security-policy"]
    assert refused["x-content-type-options"] == "nosniff"


def test_answers_of_the_gallery_stay_in_no_cache(local):
    assert local.get("/v1/people").headers["cache-control"] == "no-store"


# Tokens


def test_nothing_of_the_gallery_is_told_without_a_token(tokens):
    for route in tokens.guard.routes:
        if getattr(route.endpoint, "facedex_access", FULL_ACCESS) == OPEN:
            continue
        path = route.path.replace("{person}", "1").replace("{group}", "1").replace("{face}", "e1")
        for method in route.methods:
            answer = tokens.request(method, path)
            assert (answer.status_code, code(answer)) == (401, "token_missing"), path
            assert answer.headers["www-authenticate"] == "Bearer"


def test_only_these_routes_are_open(tokens):
    open_paths = {r.path for r in tokens.guard.routes if getattr(r.endpoint, "facedex_access", FULL_ACCESS) == OPEN}
    assert open_paths == {"/", "/reference", "/page/{name:path}", "/openapi.json", "/v1/health", "/v1/session"}


def test_a_read_token_asks_and_changes_nothing(tokens):
    headers = bearer(READ)
    assert tokens.get("/v1/people", headers=headers).status_code == 200
    assert tokens.post("/v1/detect", files=[photo(0)], headers=headers).status_code == 200
    for route in tokens.guard.routes:
        if getattr(route.endpoint, "facedex_access", FULL_ACCESS) == FULL_ACCESS:
            path = route.path.replace("{person}", "1").replace("{group}", "1").replace("{face}", "e1")
            for method in route.methods:
                assert tokens.request(method, path, headers=headers).status_code == 401, path


def test_every_route_that_may_change_something_demands_the_full_token(tokens):
    asking = {"/v1/detect", "/v1/embed", "/v1/identify", "/v1/verify", "/v1/session"}
    for route in tokens.guard.routes:
        if route.methods & {"POST", "PATCH", "PUT", "DELETE"} and route.path not in asking:
            assert not hasattr(route.endpoint, "facedex_access"), route.path


@pytest.mark.parametrize(
    "path", ["/v1/backup%0A", "/v1/%62ackup", "//v1/backup", "/v1/backup/", "/v1/./backup", "/V1/backup"]
)
def test_another_spelling_of_a_path_gives_a_read_token_no_more(tokens, path):
    assert tokens.get(path, headers=bearer(READ)).status_code == 401


@pytest.mark.parametrize("path", ["/v1/health%0A", "//v1/health", "/v1/health/..;/people", "/page/../v1/people"])
def test_another_spelling_of_an_open_path_opens_nothing(tokens, path):
    answer = tokens.get(path)
    assert answer.status_code in (401, 404) or answer.json().get("status") == "ok"
    assert "people" not in answer.text


def test_the_full_token_allows_everything(tokens):
    assert tokens.post("/v1/undo", headers=bearer(FULL)).status_code == 200
    assert tokens.get("/v1/info", headers=bearer(FULL)).json()["access"] == "full"
    assert tokens.get("/v1/info", headers=bearer(READ)).json()["access"] == "read"


@pytest.mark.parametrize("token", ["", FULL[:-1], FULL + "x", FULL.upper(), "ünïcode-token-of-a-test", "None"])
def test_another_token_is_none(tokens, token):
    assert tokens.get("/v1/info", headers={"Authorization": f"Bearer {token}".encode()}).status_code == 401


def test_a_token_in_the_url_is_none(tokens):
    assert tokens.get(f"/v1/info?token={FULL}&access_token={FULL}").status_code == 401


def test_two_tokens_in_one_request_are_none(tokens):
    twice = [("Authorization", f"Bearer {FULL}"), ("Authorization", f"Bearer {READ}")]
    assert tokens.get("/v1/info", headers=twice).status_code == 401


def test_over_tls_the_cookie_is_sent_over_tls_alone(tokens):
    for scheme, is_secure in (("https", True), ("http", False)):
        answer = tokens.post(f"{scheme}://127.0.0.1:8000/v1/session", json={"token": READ})
        assert ("secure" in answer.headers["set-cookie"].lower()) is is_secure
    tokens.cookies.clear()


def test_tokens_are_compared_in_constant_time(tokens, monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))
    for given in ("wrong", FULL, READ):
        compared.clear()
        tokens.get("/v1/info", headers=bearer(given))
        assert compared.count(FULL.encode()) == compared.count(READ.encode()) > 0


def test_a_page_exchanges_its_token_for_a_cookie_that_no_script_reads(tokens):
    answer = tokens.post("/v1/session", json={"token": READ})
    assert answer.json() == {"access": "read"}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert READ not in cookie
    tokens.cookies.clear()
    value = cookie.split("=", 1)[1].split(";")[0]
    assert tokens.get("/v1/info", headers={"Cookie": f"{COOKIE}={value}"}).json()["access"] == "read"
    assert tokens.post("/v1/undo", headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401
    assert tokens.get("/v1/info", headers={"Cookie": f"{COOKIE}={READ}"}).status_code == 401
    assert tokens.post("/v1/session", json={"token": "wrong"}).status_code == 401
    assert 'facedex_token=""' in tokens.delete("/v1/session").headers["set-cookie"]


@pytest.mark.parametrize(
    "changes",
    [{"token": "short"}, {"token": "a" * 20 + "\n"}, {"read_token": READ}, {"token": FULL, "read_token": FULL}],
)
def test_tokens_that_could_be_guessed_or_mixed_up_are_refused(tmp_path, changes):
    with pytest.raises(errors.DataError), client(tmp_path / "g", **changes):
        pass


def test_other_machines_are_never_served_without_a_token(tmp_path):
    with pytest.raises(errors.DataError, match="needs a token"), client(tmp_path / "g", addresses=("192.0.2.1",)):
        pass


# Caps


def small(tmp_path, **limits):
    return client(tmp_path / "g", limits=limits)


def test_a_body_above_the_cap_is_refused_before_it_is_read(tmp_path):
    with small(tmp_path, request_bytes=10_000) as opened:
        answer = opened.post("/v1/detect", files=[photo(0)])
        assert (answer.status_code, code(answer)) == (413, "request_too_large")


def test_a_body_of_unknown_length_is_capped_while_it_arrives(tmp_path):
    sent = []

    def endless():
        for _ in range(1000):
            sent.append(1)
            yield bytes(1000)

    with small(tmp_path, request_bytes=10_000) as opened:
        answer = opened.post("/v1/detect", content=endless(), headers={"Content-Type": "image/jpeg"})
        assert (answer.status_code, code(answer)) == (413, "request_too_large")


def test_parts_of_a_form_are_counted(tmp_path):
    with small(tmp_path, photos=2, fields=3, field_bytes=100) as opened:
        assert opened.post("/v1/detect", files=[photo(0)] * 2).status_code == 200
        for files, data in (
            ([photo(0)] * 3, {}),
            ([photo(0)], {str(number): "x" for number in range(4)}),
            ([photo(0)], {"name": "x" * 101}),
        ):
            answer = opened.post("/v1/detect", files=files, data=data)
            assert (answer.status_code, code(answer)) == (413, "request_too_large")


def test_a_json_body_is_capped(local):
    answer = local.patch("/v1/people/1", json={"name": "x" * 70_000})
    assert (answer.status_code, code(answer)) == (413, "request_too_large")


def test_all_bodies_together_are_capped(tmp_path):
    with small(tmp_path, all_bytes=5_000) as opened:
        answer = opened.post("/v1/detect", files=[photo(0)])
        assert (answer.status_code, code(answer)) == (503, "server_busy")
        assert int(answer.headers["retry-after"]) > 0
        assert opened.guard.service.held.number == 0


def test_a_picture_of_four_gigapixels_is_answered_at_once(local):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0")
    bomb = head + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    headers = {"Content-Type": "image/png"}
    local.post("/v1/identify", content=bomb, headers=headers)
    begun = time.perf_counter()
    answer = local.post("/v1/identify", content=bomb, headers=headers)
    assert time.perf_counter() - begun < 0.1
    assert (answer.status_code, code(answer)) == (413, "photo_too_large")


def test_the_cap_on_pixels_is_the_servers(tmp_path):
    with small(tmp_path, pixels=10_000) as opened:
        assert code(opened.post("/v1/detect", files=[photo(0)])) == "photo_too_large"


def test_a_broken_form_is_refused(local):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for content in (b"--y\r\n\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--", b""):
        assert code(local.post("/v1/detect", content=content, headers=headers)) == "request_invalid"
    headers = {"Content-Type": "multipart/form-data"}
    assert code(local.post("/v1/detect", content=b"x", headers=headers)) == "request_invalid"


def test_headers_inside_a_form_are_capped(local):
    head = b'--x\r\nContent-Disposition: form-data; name="p"; filename="p"\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for more in (b"X: " + bytes(100_000) + b"\r\n", b"X: y\r\n" * 10_000):
        answer = local.post("/v1/detect", content=head + more + b"\r\nabc\r\n--x--", headers=headers)
        assert answer.status_code in (400, 413)
        assert code(answer) in ("request_invalid", "request_too_large")


def test_no_path_of_a_request_is_opened(local, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(0))
    assert code(local.post("/v1/detect", data={"photo": str(secret)}, files={"x": ("", b"")})) in (
        "request_invalid",
        "photo_unreadable",
    )
    name = f"../../..{secret}"
    shown = local.post("/v1/detect", files=[("photo", (name, jpeg(0), "image/jpeg"))]).json()["photos"][0]
    assert shown["photo"] == "secret.jpg"
    for face in ("e1/../../..", "s0", "e-1", "x1", str(secret), "e99999999999999999999", "e1%00"):
        assert local.get(f"/v1/faces/{face}/crop").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["%2e%2e/guard.py", "..%2Fguard.py", "%2Fetc%2Fpasswd", "index.html%00", "", ".", "README.md", "%5C..%5Cguard.py"],
)
def test_no_file_but_those_of_the_page_is_sent(local, name):
    answer = local.get(f"/page/{name}")
    assert (answer.status_code, code(answer)) == (404, "not_found")


# What never leaves


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("the secret of Ada"),
        KeyError("the secret of Ada"),
        sqlite3.OperationalError("the secret of Ada"),
        RecursionError("the secret of Ada"),
        UnicodeDecodeError("utf-8", b"the secret of Ada", 0, 1, "the secret of Ada"),
        AssertionError("the secret of Ada"),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize(
    ("owner", "attribute", "method", "path"),
    [
        ("gallery", "people", "GET", "/v1/people"),
        ("gallery", "undo", "POST", "/v1/undo"),
        ("counts", "text", "GET", "/metrics"),
    ],
)
def test_a_fault_tells_nothing_of_itself(local, monkeypatch, caplog, fault, owner, attribute, method, path):
    def broken(*_, **__):
        raise fault

    monkeypatch.setattr(getattr(local.guard.service, owner), attribute, broken)
    answer = local.request(method, path)
    assert (answer.status_code, code(answer)) == (500, "fault")
    assert answer.json()["error"]["details"] is None
    assert "secret" not in answer.text + str(answer.headers)
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["request_id"] in caplog.text


def test_the_access_log_names_nobody(local, caplog):
    with caplog.at_level(logging.INFO, "facedex.server"):
        local.post("/v1/people", files=[photo(5, name="Ada Lovelace.jpg")], data={"name": "Ada Lovelace"})
        local.get("/v1/people?q=Lovelace")
        local.get("/v1/people/Lovelace")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("facedex.server")]
    assert len(lines) == 3
    assert "POST /v1/people 201" in lines[0]
    assert not any("Lovelace" in line for line in lines)


def test_a_method_that_is_none_comes_into_no_log(local, caplog):
    with caplog.at_level(logging.INFO, "facedex.server"):
        assert local.request("LOVELACE", "/v1/people").status_code == 405
    assert "LOVELACE" not in caplog.text + local.get("/metrics").text


def test_metrics_name_nobody(local):
    local.get("/v1/people?q=Lovelace")
    text = local.get("/metrics").text
    assert 'facedex_requests_total{method="GET",route="/v1/people",status="200"}' in text
    assert "Lovelace" not in text


# Errors


ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.FacedexError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_line_of_its_own_in_the_table(kind):
    error = kind.__new__(kind)
    Exception.__init__(error, "Name the remedy")
    answer = refusals.refusal(error, "1")
    (line,) = [line for line in refusals.TABLE if line[0] is kind]
    assert (answer.status_code, json.loads(answer.body)["error"]["code"]) == line[1:]
    assert (answer.status_code == 503) == ("retry-after" in answer.headers)


def test_no_code_stands_for_two_errors():
    codes = [code for _, _, code in refusals.TABLE]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_the_tree_of_errors_shows_every_error_below_its_parent(kind):
    tree = [line for line in errors.__doc__.splitlines() if line.startswith("    ")]
    place = next(at for at, line in enumerate(tree) if re.search(rf"(^|\s){kind.__name__}(\s|$)", line))
    if kind is not errors.FacedexError:
        depth = re.search(r"\w", tree[place]).start()
        above = next(line for line in reversed(tree[:place]) if re.search(r"\w", line).start() < depth)
        assert re.search(r"\w+", above)[0] == kind.__base__.__name__


def test_no_line_of_the_table_is_hidden_by_one_before():
    kinds = [kind for kind, _, _ in refusals.TABLE]
    for at, kind in enumerate(kinds):
        assert not any(issubclass(kind, before) for before in kinds[:at]), kind


def test_errors_of_routing_and_of_values_have_the_same_form(local):
    for answer, status, text in (
        (local.get("/v1/nothing"), 404, "not_found"),
        (local.put("/v1/people"), 405, "method_not_allowed"),
        (local.get("/v1/people?limit=0"), 400, "request_invalid"),
        (local.get("/v1/people?cursor=nonsense"), 400, "request_invalid"),
        (local.post("/v1/undo/x"), 404, "not_found"),
        (
            local.patch("/v1/people/1", content=b"{", headers={"Content-Type": "application/json"}),
            400,
            "request_invalid",
        ),
        (local.get("/v1/people/999"), 404, "person_not_found"),
    ):
        assert answer.status_code == status
        body = answer.json()
        assert set(body) == {"error", "request_id"}
        assert set(body["error"]) == {"code", "message", "details"}
        assert body["error"]["code"] == text
        assert body["request_id"] == answer.headers["x-request-id"]


def test_details_say_which_value_is_wrong(local):
    details = local.get("/v1/people?limit=0").json()["error"]["details"]
    assert details[0]["where"] == ["query", "limit"]


def test_a_web_socket_is_refused(local):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), local.websocket_connect("/v1/events"):
        pass


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [(OSError(28, "No space", "/home/ada/x"), 507, "disk_unusable"), (MemoryError(), 503, "memory_used_up")],
)
def test_errors_of_the_system_tell_no_path(local, monkeypatch, error, status, text):
    def broken(*_):
        raise error

    monkeypatch.setattr(local.guard.service.gallery, "people", broken)
    answer = local.get("/v1/people")
    assert (answer.status_code, code(answer)) == (status, text)
    assert "ada" not in answer.text


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "x" * 2000, "", "unknown"])
def test_a_name_that_is_none_never_is_a_fault(local, name):
    content = json.dumps({"name": name})
    headers = {"Content-Type": "application/json"}
    assert local.patch("/v1/people/1", content=content, headers=headers).status_code in (400, 404, 422)


def test_nested_json_is_no_fault(local):
    deep = "[" * 60_000
    answer = local.patch("/v1/people/1", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    cursor = base64.urlsafe_b64encode(b"[" * 2900).decode()
    assert local.get(f"/v1/people?cursor={cursor}").status_code == 400


def test_numbers_that_no_database_takes_are_refused(local):
    huge = 2**70
    for answer in (
        local.get(f"/v1/people/{huge}"),
        local.post("/v1/people/1/merge", json={"into": huge}),
        local.get(f"/v1/groups/{huge}/faces"),
    ):
        assert answer.status_code == 400
