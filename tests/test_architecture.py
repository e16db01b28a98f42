"""The package's folders import each other in one direction only.

`python -m tests.test_architecture` draws the picture.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facedex"

# From the top floor down. A folder or module imports from lower floors only.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("server",),
    ("__init__",),
    ("annotate", "results", "json_shapes"),
    ("library",),
    ("gallery",),
    ("index",),
    ("engines",),
    ("store",),
    ("video",),
    ("recognition",),
    ("training",),
    ("evaluation",),
    ("data",),
    ("model",),
    ("faces",),
    ("photos",),
    ("decision",),
    ("threads", "files", "weights", "log", "fonts", "wording", "pages"),
    ("opencv",),
    ("errors", "_version"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MEASURING = {"training", "evaluation", "data"}
ANSWERING = {"results", "annotate", "recognition", "library", "gallery", "index", "engines", "store"}


def imports(module: Path) -> Iterator[Path]:
    """The package's modules that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "facedex":
            folder = PACKAGE.joinpath(*node.module.split(".")[1:])
            for name in node.names:
                candidates = (
                    folder / f"{name.name}.py",
                    folder / name.name / "__init__.py",
                    folder.with_suffix(".py"),
                    folder / "__init__.py",
                )
                yield next(path for path in candidates if path.is_file())
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module} has a relative import"


MODULES = {module: sorted(set(imports(module)) - {module}) for module in sorted(PACKAGE.rglob("*.py"))}


def room(module: Path) -> str:
    """The folder of a module, or the module's own name where it lies at the top."""
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def arrows() -> dict[str, set[str]]:
    """What each room imports from."""
    found: dict[str, set[str]] = {place: set() for place in FLOOR}
    for module, imported in MODULES.items():
        found[room(module)] |= {room(other) for other in imported} - {room(module)}
    return found


def picture() -> str:
    """The rooms from the top floor down, each with the rooms that it imports from."""
    lines = []
    for rooms in FLOORS[1:-1]:
        for place in rooms:
            if place == "__init__":
                continue
            to = sorted(arrows()[place] - {"errors", "_version"}, key=lambda other: (FLOOR[other], other))
            lines.append(f"{place:<12} -> {' '.join(to)}" if to else place)
    return "\n".join(lines)


def test_every_folder_has_a_layer():
    assert {room(module) for module in MODULES} == set(FLOOR)


def test_imports_go_down():
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {other.relative_to(PACKAGE)}"
        for module, imported in MODULES.items()
        for other in imported
        if room(module) != room(other) and FLOOR[room(other)] <= FLOOR[room(module)]
    ]
    assert not wrong


def test_answering_and_training_do_not_import_each_other():
    found = arrows()
    assert all(not found[place] & MEASURING for place in {*ANSWERING, "model", "faces", "photos", "decision"})
    assert all(not found[place] & ANSWERING for place in MEASURING)


def test_the_decision_folder_imports_only_errors():
    assert arrows()["decision"] <= {"errors"}


def test_modules_do_not_import_each_other_in_a_circle():
    reached: dict[Path, set[Path]] = {}

    def everything(module: Path, path: tuple[Path, ...] = ()) -> set[Path]:
        if module in path:
            circle = " -> ".join(str(one.relative_to(PACKAGE)) for one in (*path[path.index(module) :], module))
            pytest.fail(f"import circle: {circle}")
        if module not in reached:
            below = [everything(other, (*path, module)) for other in MODULES[module]]
            reached[module] = set(MODULES[module]).union(*below)
        return reached[module]

    for module in MODULES:
        everything(module)


def test_the_readme_shows_the_picture():
    assert picture() in (PACKAGE / "README.md").read_text("utf-8"), "run `python -m tests.test_architecture`, paste"


def test_no_two_files_have_one_name():
    roots = (PACKAGE, PACKAGE.parent / "scripts", PACKAGE.parent / "tests")
    names = [path.name for folder in roots for path in folder.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


if __name__ == "__main__":
    print(picture())
