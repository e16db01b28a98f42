"""The container's files: what can be checked of them without a builder."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from facedex.cli import application

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "scripts" / "container"
TEXT = (FOLDER / "Containerfile").read_text("utf-8")
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")]


def values(instruction):
    return [line.split(" ", 1)[1] for line in LINES if line.startswith(instruction + " ")]


@pytest.fixture
def service():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    return yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]["facedex"]


def options_of_serve():
    (command,) = get_command(application("serve")).commands.values()
    return {name for parameter in command.params for name in parameter.opts}


def test_each_line_is_an_instruction():
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {line.split()[0] for line in LINES} <= known | {"ENTRYPOINT"}
    assert len(values("FROM")) == 2
    assert all("slim" in image for image in values("FROM"))


def test_every_file_that_is_copied_is_there():
    for copied in values("COPY"):
        if not copied.startswith("--from"):
            for name in copied.split()[:-1]:
                assert (ROOT / name).exists(), name


def test_the_extras_that_it_installs_exist():
    project = (ROOT / "pyproject.toml").read_text("utf-8")  # Python 3.10 has no tomllib
    (asked,) = re.findall(r'"\.\[([\w,]+)\]"', TEXT)
    for extra in asked.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_it_runs_as_a_user_without_rights():
    user = values("USER")[-1]
    assert user.split(":")[0].isdecimal()
    assert user.split(":")[0] != "0"
    assert LINES.index(f"USER {user}") < next(n for n, line in enumerate(LINES) if line.startswith("ENTRYPOINT"))


def test_its_options_are_those_of_serve(service):
    words = shlex.split(values("ENTRYPOINT")[0].strip("[]").replace(",", " ")) + service["command"]
    assert words[:2] == ["facedex", "serve"]
    assert {word for word in words if word.startswith("--")} <= options_of_serve()


def test_compose_takes_every_right_away_and_opens_the_port_to_this_machine_alone(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    assert any(volume.endswith(":/photos:ro") for volume in service["volumes"])
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_compose_starts_nothing_without_a_token(service):
    assert service["environment"]["FACEDEX_TOKEN"].startswith("${FACEDEX_TOKEN:?")


def test_compose_makes_no_read_token_up(service):
    """podman-compose 1.0.3 passes `${FACEDEX_READ_TOKEN:-}` on as it stands, and everybody knows that text."""
    assert service["environment"]["FACEDEX_READ_TOKEN"] is None
    assert not any(":-" in (value or "") for value in service["environment"].values())
