"""What the documents say is true."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from facedex.cli import application

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = get_command(application()).commands  # type: ignore[attr-defined]


def options(command: str) -> set[str]:
    return {flag for one in COMMANDS[command].params for flag in (*one.opts, *one.secondary_opts)}


def test_every_command_is_in_the_readme_and_every_one_there_exists():
    table = README.split("## Commands")[1].split("## ")[0]
    row_heads = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(?:facedex )?([a-z]+)", row_heads)) == set(COMMANDS)


def test_every_option_shown_with_a_command_exists():
    shown = 0
    for command, rest in re.findall(r"facedex ([a-z]+)((?: [^\s`|#]+)*)", README):
        if command in COMMANDS:
            for flag in re.findall(r"--[a-z-]+", rest):
                assert flag in options(command), f"facedex {command} {flag}"
                shown += 1
    assert shown >= 3


def test_every_option_named_anywhere_in_the_readme_exists_somewhere():
    known = set().union(*(options(command) for command in COMMANDS)) | {"--help", "--version"}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= known


def test_the_python_example_runs_as_it_stands(portraits, tmp_path):
    (tmp_path / "database").mkdir()
    shutil.copy(portraits / "obama.jpg", tmp_path / "database" / "Barack Obama.jpg")
    shutil.copy(portraits / "obama2.jpg", tmp_path / "party.jpg")
    code = README.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "enrolled" in done.stdout and "Barack Obama" in done.stdout


def test_each_folder_has_a_readme_that_names_its_modules():
    for module in (ROOT / "facedex").rglob("*.py"):
        if not module.name.startswith("_"):
            listed = (module.parent / "README.md").read_text("utf-8")
            assert f"`{module.name}`" in listed, module
    for folder in ("facedex", "facedex/weights", "scripts", "index", "tests"):
        assert (ROOT / folder / "README.md").is_file()


def test_both_commands_of_the_readme_are_scripts_that_parse():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    for script in re.findall(r"bash (scripts/\w+\.sh)", README):
        subprocess.run([bash, "-n", str(ROOT / script)], check=True)
