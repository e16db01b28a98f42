"""The wheel holds everything: installed into a fresh environment, it does the main job from another folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.helpers import save_face

ROOT = Path(__file__).parents[1]


def run(*command: object, **options) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FACEDEX_"))}
    return subprocess.run([*map(str, command)], capture_output=True, encoding="utf-8", env=environment, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the files that belong to the project."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "facedex", source / "facedex", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = run(*pip, "--wheel-dir", folder, source)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("facedex-*.whl"))


@pytest.fixture(scope="module")
def facedex(wheel, tmp_path_factory) -> Path:
    """The command of a fresh environment that holds the wheel. The dependencies come from the present environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=os.name == "posix")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    # A path in a .pth file brings the dependencies, without what is installed there as editable.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    installed = run(*pip, wheel)
    assert installed.returncode == 0, installed.stderr
    where = run(python, "-c", "import facedex; print(facedex.__file__)", cwd=folder).stdout
    assert str(packages) in where
    return scripts / ("facedex.exe" if os.name == "nt" else "facedex")


def test_the_wheel_holds_every_module_and_every_licence(wheel):
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    package = ROOT / "facedex"
    wanted = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    needed = {f"facedex/{path.relative_to(package).as_posix()}" for path in wanted if path.name != "README.md"}
    assert needed <= held
    licences = {Path(name).name for name in held if "/licenses/" in name}
    assert {"LICENSE", "LICENSE-APACHE-2.0", "LICENSE-YUNET-MIT", "NOTICE"} <= licences


def test_the_wheel_is_no_larger_than_twenty_megabytes(wheel):
    assert wheel.stat().st_size < 20e6


def test_the_main_job_runs_from_another_folder(facedex, tmp_path):
    save_face(tmp_path / "database" / "Ada.png", 1)
    save_face(tmp_path / "database" / "Ben.png", 2)
    enrolled = run(facedex, "enroll", "database", "--json", cwd=tmp_path)
    assert enrolled.returncode == 0, enrolled.stderr
    assert [json.loads(line)["status"] for line in enrolled.stdout.splitlines()] == ["enrolled", "enrolled"]
    shutil.copy(tmp_path / "database" / "Ada.png", tmp_path / "party.png")
    found = run(facedex, "identify", "party.png", "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert [face["name"] for face in json.loads(found.stdout)["faces"]] == ["Ada"]
