"""The documents agree with the code, and their examples run."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.main import get_command

import facedex
from facedex.cli import application
from facedex.cli.exit_codes import EXIT_CODES
from facedex.cli.json_fields import JSON_OBJECTS
from facedex.gallery.gallery import Gallery
from facedex.library.sidecars import read_names
from facedex.photos.sources import named_photos
from scripts import cli_reference
from tests.helpers import python, save_face

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = get_command(application()).commands  # type: ignore[attr-defined]


def options(command: str) -> set[str]:
    return {flag for option in COMMANDS[command].params for flag in (*option.opts, *option.secondary_opts)}


def test_every_command_is_in_the_readme_and_every_one_there_exists():
    table = README.split("## Commands")[1].split("## ")[0]
    row_heads = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(?:facedex )?([a-z][a-z-]*)", row_heads)) == set(COMMANDS)


def test_every_option_shown_with_a_command_exists():
    shown = 0
    for command, rest in re.findall(r"facedex ([a-z-]+)((?: [^\s`|#]+)*)", README):
        if command in COMMANDS:
            for flag in re.findall(r"--[a-z-]+", rest):
                assert flag in options(command), f"facedex {command} {flag}"
                shown += 1
    assert shown >= 3


def test_every_option_named_anywhere_in_the_readme_exists_somewhere():
    known = set().union(*(options(command) for command in COMMANDS)) | {"--help", "--version"}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= known


def python_blocks():
    """Every Python block of every README.md, as (where it is, the code, the reason why it cannot run)."""
    for readme in sorted(ROOT.rglob("README.md")):
        where = readme.relative_to(ROOT)
        if any(part.startswith(".") for part in where.parts):
            continue
        text = readme.read_text("utf-8")
        for block in re.finditer(
            r"(?:<!-- not run: ([^\n]+) -->\n)?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        ):
            reason, code = block.groups()
            line = text[: block.start(2)].count("\n")
            yield pytest.param(code, reason, id=f"{where}:{line}")


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory):
    """What the examples of the READMEs find in the folder they run in.

    A gallery `index` of Cy; database/Ada.png; party.jpg of Ada and Bob; a.jpg and b.jpg of Ada.
    """
    folder = tmp_path_factory.mktemp("examples")
    save_face(folder / "database" / "Ada.png", 0)
    save_face(folder / "party.jpg", 0, 1)
    save_face(folder / "a.jpg", 0)
    save_face(folder / "b.jpg", 0, side=200)
    cy = save_face(folder / "cy.jpg", 2)
    with Gallery(folder / "index", create=True) as gallery, named_photos([cy], "Cy") as (photos, _):
        assert [result.status for result in gallery.iter_enroll(photos)] == ["enrolled"]
    return folder


def run_example(code, example_folder, folder):
    """Run code in a process of its own, in a copy of the example folder; returns what it printed."""
    shutil.copytree(example_folder, folder / "example")
    process = python(code, cwd=folder / "example")
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return out


@pytest.mark.parametrize(("code", "reason"), list(python_blocks()))
def test_each_python_block_of_a_readme_runs(code, reason, example_folder, tmp_path):
    if reason:
        compile(code, "README.md", "exec")
        pytest.skip(reason)
    run_example(code, example_folder, tmp_path)


def test_the_example_of_the_package_enrolls_and_names(example_folder, tmp_path):
    _, indented, _ = re.split(r"\n\n(?=    import facedex)|\n\n(?=\S)", facedex.__doc__, maxsplit=2)
    out = run_example(textwrap.dedent(indented), example_folder, tmp_path)
    assert "enrolled" in out
    assert "Ada" in out


def test_the_reference_of_the_command_line_is_what_the_script_makes():
    assert cli_reference.README.read_text("utf-8") == cli_reference.reference(), "run `python -m scripts.cli_reference`"


def test_every_command_has_its_exit_codes_described():
    assert set(EXIT_CODES) == set(COMMANDS)


def test_every_command_with_json_has_its_fields_described():
    assert {name for name in COMMANDS if "--json" in options(name)} == set(JSON_OBJECTS)


def test_each_folder_has_a_readme_that_names_its_modules():
    for module in (ROOT / "facedex").rglob("*.py"):
        if not module.name.startswith("_"):
            listed = (module.parent / "README.md").read_text("utf-8")
            assert f"`{module.name}`" in listed, module
    for folder in ("facedex", "facedex/weights", "scripts", "index", "tests"):
        assert (ROOT / folder / "README.md").is_file()


def test_the_application_of_one_command_has_that_command_with_the_same_options():
    (command,) = get_command(application("identify")).commands.values()  # type: ignore[attr-defined]
    assert [parameter.opts for parameter in command.params] == [
        parameter.opts for parameter in COMMANDS["identify"].params
    ]


@pytest.mark.parametrize("name", [None, "--help", "identity"])
def test_the_application_has_all_commands_without_the_name_of_one(name):
    assert set(get_command(application(name)).commands) == set(COMMANDS)  # type: ignore[attr-defined]


def test_both_commands_of_the_readme_are_scripts_that_parse():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    for script in re.findall(r"bash (scripts/\w+\.sh)", README):
        subprocess.run([bash, "-n", str(ROOT / script)], check=True)


def test_the_steps_to_name_a_photo_library_work_as_they_are_written(tmp_path):
    """Ada is on four photos, Charles on three, a stranger on two; all of them stand together on one."""
    if shutil.which("sh") is None:
        pytest.skip("needs a POSIX shell")
    pictures = tmp_path / "Pictures"
    save_face(pictures / "party.jpg", 1, 2, 3)
    for seed, sides in ((1, (200, 220, 250)), (2, (200, 230)), (3, (210,))):
        for side in sides:
            save_face(pictures / f"{seed}" / f"{side}.jpg", seed, side=side)
    program = tmp_path / "bin" / "facedex"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m facedex "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(ROOT)}

    def shell(step: str) -> str:
        done = subprocess.run(
            ["sh", "-c", step], cwd=tmp_path, env=environment, capture_output=True, text=True, input="y\n"
        )
        assert done.returncode == 0, f"{step}: {done.stderr}"
        return done.stdout + done.stderr

    text = (ROOT / "facedex" / "library" / "README.md").read_text("utf-8")
    section = text.split("## Name my photo library")[1].split("\nAfter new photos arrive")[0]
    steps = re.findall(r"`(facedex [^`]+)`", section.split("\n1. ")[1])
    steps.remove("facedex review")  # it asks, and there is no terminal
    if shutil.which("exiftool") is None:
        steps.remove("facedex export --embed")
    printed = [(step, shell(step)) for step in steps]
    everything = "\n".join(out for _, out in printed)
    assert "keeps 9 faces of 7 photos" in everything
    assert "4 faces named Ada Lovelace" in everything
    assert "3 faces named Charles Babbage" in everything
    (both,) = [out for step, out in printed if "--and" in step]
    assert "party.jpg" in both
    assert "200.jpg" not in both
    assert {region.name for region in read_names(pictures / "party.jpg").regions} == {"Ada Lovelace", "Charles Babbage"}
    save_face(pictures / "later.jpg", 1, side=240)
    shell(steps[0])
    assert "Ada Lovelace" in shell(steps[1])  # the later face resembles her
