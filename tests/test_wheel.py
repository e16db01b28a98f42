"""The wheel holds everything: installed into a fresh environment, it does the main job from another folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from facedex import __version__
from tests.helpers import save_face

ROOT = Path(__file__).parents[1]


def run(*command: object, **options) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FACEDEX_"))}
    return subprocess.run([*map(str, command)], capture_output=True, encoding="utf-8", env=environment, **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the files that belong to the project."""
    source = tmp_path_factory.mktemp("source") / "facedex"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist")
    for name in ("facedex", "scripts", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    (source / "index").mkdir()
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "index/README.md"):
        shutil.copy(ROOT / name, source / name)
    return source


def build_wheel(source: Path, folder: Path) -> Path:
    """Build a wheel from a folder of sources into another folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = run(*pip, "--wheel-dir", folder, source)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("facedex-*.whl"))


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory) -> Path:
    """The source distribution, built as `python -m build` does and unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    built = run(sys.executable, "-c", code, folder, cwd=source)
    assert built.returncode == 0, built.stderr
    (archive,) = folder.glob("facedex-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    return found


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
    assert {"LICENSE", "LICENSE-APACHE-2.0", "LICENSE-YUNET-MIT", "LICENSE-DEJAVU", "NOTICE"} <= licences


def test_the_source_distribution_builds_the_same_wheel(wheel, unpacked, tmp_path):
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build_wheel(unpacked, tmp_path)) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        assert [name for name in one.namelist() if one.read(name) != other.read(name)] == []


def test_the_source_distribution_holds_the_tests_and_all_that_they_read(source, unpacked):
    def files(folder):
        made = {"PKG-INFO", "setup.cfg"}  # setuptools adds them
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return {name for name in names if ".egg-info/" not in name and not name.startswith("build/")} - made

    assert files(unpacked) == files(source)


def test_the_description_has_no_link_into_the_repository_and_one_version(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = file.read(name).decode()
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert all(link.startswith(("https://", "#")) for link in links)
    assert "facedex names the people in photos" in metadata
    assert "Description-Content-Type: text/markdown" in metadata
    assert f"Version: {__version__}\n" in metadata
    assert __version__ not in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_wheel_is_no_larger_than_twenty_megabytes(wheel):
    assert wheel.stat().st_size < 20e6


def test_the_main_job_runs_from_another_folder(facedex, tmp_path):
    save_face(tmp_path / "database" / "Ada.png", 1)
    save_face(tmp_path / "database" / "Ben.png", 2)
    enrolled = run(facedex, "enroll", "database", "--json", cwd=tmp_path)
    assert enrolled.returncode == 0, enrolled.stderr
    statuses = [json.loads(line)["status"] for line in enrolled.stdout.splitlines()]
    assert statuses[:2] == ["enrolled", "enrolled"]  # lines about suspicious photos may follow: drawn faces are alike
    shutil.copy(tmp_path / "database" / "Ada.png", tmp_path / "party.png")
    found = run(facedex, "identify", "party.png", "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert [face["name"] for face in json.loads(found.stdout)["faces"]] == ["Ada"]
