"""The examples in the README of the server run, and name every route."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import python, save_face
from tests.servers import client, over_socket

FOLDER = Path(__file__).parents[1] / "facedex" / "server"
README = (FOLDER / "README.md").read_text("utf-8")
(CURL,) = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
(CLIENT,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(tmp_path):
    """A folder with the photos of the examples, and a server of a gallery in it."""
    save_face(tmp_path / "database" / "Ada.png", 0)
    save_face(tmp_path / "party.jpg", 0, 1)
    save_face(tmp_path / "a.jpg", 0)
    save_face(tmp_path / "b.jpg", 0, side=200)
    for number in range(2):
        save_face(tmp_path / "photos" / f"{number}.png", 5, side=240 + 20 * number)
    save_face(tmp_path / "photos" / "other.png", 6)
    with over_socket(tmp_path / "g", folders=(tmp_path / "photos",), keep_crops=True, token="a" * 20) as opened:
        opened.headers["Authorization"] = f"Bearer {'a' * 20}"
        yield tmp_path, str(opened.base_url)


def test_each_line_of_curl_runs(example, tmp_path):
    bash, curl = shutil.which("bash"), shutil.which("curl")
    if not bash or not curl:
        pytest.skip("needs bash and curl")
    if "--json" not in subprocess.run([curl, "--help", "all"], capture_output=True, text=True).stdout:
        pytest.skip("needs curl 7.82 or newer, for --json")
    folder, url = example
    wait = "until curl -s $facedex/scan | grep -q 'state.:.done'; do sleep .2; done"
    script = CURL.replace("http://127.0.0.1:8000", url).replace(
        "curl -sf -X DELETE $facedex/scan", f"{wait}\ncurl -sf -X DELETE $facedex/scan"
    )
    setup = f'set -e\ncurl() {{ command curl -S -H "Authorization: Bearer {"a" * 20}" "$@" || [ $? = 28 ]; }}\n'
    environment = {"FACEDEX_TOKEN": "a" * 20, "PATH": str(Path(curl).parent) + ":/usr/bin:/bin"}
    run = subprocess.run([bash, "-c", setup + script], cwd=folder, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    assert '"name":"Ada"' in run.stdout
    assert (folder / "backup.tar").stat().st_size > 10_000
    assert (folder / "ada.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_the_client_in_python_runs(example):
    folder, url = example
    assert len(CLIENT.strip().splitlines()) <= 21
    process = python(CLIENT.replace("http://127.0.0.1:8000", url), cwd=folder, env={"FACEDEX_TOKEN": "a" * 20})
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out.splitlines()[-1] == "['Ada']"
    assert out.startswith("Ada ")


def test_the_readme_has_a_line_of_curl_for_every_route(tmp_path):
    lines = [line.replace("$facedex", "/v1") for line in CURL.splitlines()]
    with client(tmp_path / "g") as opened:
        for route in opened.guard.routes:
            if not route.include_in_schema or route.path == "/metrics":
                continue
            path = re.sub(r"\{(person|group)\}", r"\\d+", route.path)
            path = path.replace("{face}", r"[es]\d+").replace("{question}", r"[\d-]+")
            for method in route.methods:
                named = rf"-X {method}" if method in ("PATCH", "DELETE") else r"(-X POST|-F|--json|--data)"
                wanted = [line for line in lines if re.search(rf' "?{path}(\?|"|$| )', line)]
                if method == "GET":
                    found = [line for line in wanted if not re.search(r"-X|-F|--json|--data", line)]
                else:
                    found = [line for line in wanted if re.search(named, line)]
                assert found, (method, route.path)


def test_the_page_takes_nothing_from_elsewhere():
    for path in (FOLDER / "page").rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text("utf-8")
            outside = re.findall(r"""(?:src|href|url|from|import|fetch)\s*[=(:]?\s*["'(]\s*(?:https?:)?//""", text)
            assert not outside, path
            if path.suffix == ".html":  # the policy forbids scripts and styles inside
                assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text), path
