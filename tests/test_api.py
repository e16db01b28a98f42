"""What `import facedex` promises: these names, at no cost, and no torch where none is needed."""

import importlib
import json

import pytest

import facedex
from tests.helpers import python, save_face

NAMES = [
    "Candidate",
    "DetectedFace",
    "Enrolled",
    "FacedexError",
    "Gallery",
    "IdentifiedPhoto",
    "IdentifiedVideo",
    "PhotoInput",
    "Verification",
    "Verifier",
    "__version__",
    "find_faces",
    "identify",
    "identify_videos",
    "named_photos",
]


def test_the_public_names_are_exactly_these():
    assert facedex.__all__ == NAMES
    assert dir(facedex) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(facedex, name)
    assert isinstance(found, str) or found.__doc__


def test_a_star_import_brings_them_all():
    space = {}
    exec("from facedex import *", space)
    assert set(NAMES) <= set(space)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        facedex.nonsense  # noqa: B018


def test_a_public_name_is_never_hidden_by_a_module():
    """`facedex.identify` was a function or a module, by what had been imported before."""
    for home in set(facedex._MODULES.values()):
        importlib.import_module(f"facedex.{home}")
    assert callable(facedex.identify)
    assert callable(facedex.named_photos)
    assert not set(facedex._MODULES) & set(facedex._MODULES.values())


def test_every_error_of_ours_is_a_facedex_error():
    from facedex import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 15
    assert all(issubclass(kind, facedex.FacedexError) for kind in kinds)
    assert "facedex[train]" in str(errors.MissingExtra("Training", "train"))


REPORT = """
import json, sys
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules(code, *arguments):
    """The top-level modules that a process has imported after running some code."""
    process = python(code + REPORT, *arguments)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return set(json.loads(out.splitlines()[-1]))


HEAVY = {"torch", "torchvision", "onnx", "matplotlib", "cv2", "faiss", "numpy", "PIL"}
TRAINING = {"torch", "torchvision", "onnx", "matplotlib"}
RUN = """
import sys
from facedex.cli import main
def run(*arguments):
    sys.argv = ["facedex", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), end.code
"""


def test_importing_facedex_imports_nothing_heavy():
    assert not modules("import facedex") & HEAVY
    assert "numpy" in modules("import facedex; facedex.Gallery")  # the check itself would notice


def test_help_imports_nothing_heavy():
    assert not modules(RUN + "run('--help')") & HEAVY
    assert not modules(RUN + "run('identify', '--help')") & HEAVY


def test_enrolling_identifying_and_verifying_never_import_torch(tmp_path):
    photo = save_face(tmp_path / "db" / "Ada.png", 0)
    code = RUN + "\n".join(
        [
            "gallery = sys.argv[1]; database = sys.argv[2]; photo = sys.argv[3]",
            "run('enroll', database, '-g', gallery)",
            "run('identify', photo, '-g', gallery, '--top', '3', '--annotate', gallery + '-pictures')",
            "run('verify', photo, photo)",
            "run('list', '-g', gallery)",
            "run('rename', 'Ada', 'Eve', '-g', gallery)",
            "run('reindex', '-g', gallery)",
            "run('remove', 'Eve', '-y', '-g', gallery)",
        ]
    )
    found = modules(code, tmp_path / "g", photo.parent, photo)
    assert {"numpy", "cv2"} <= found
    assert not found & (TRAINING | {"faiss"})


def test_the_library_works_without_torch(tmp_path):
    photo = save_face(tmp_path / "Ada.png", 0)
    code = """
import sys
for name in ("torch", "torchvision", "onnx", "matplotlib"):
    sys.modules[name] = None  # as where the extra is not installed
import facedex
with facedex.Gallery(sys.argv[1], create=True) as gallery:
    with facedex.named_photos([sys.argv[2]], "Ada") as (photos, _):
        assert [result.status for result in gallery.iter_enroll(photos)] == ["enrolled"]
    (found,) = facedex.identify(gallery, [sys.argv[2]])
    assert found.faces[0].name == "Ada"
assert facedex.Verifier().verify(sys.argv[2], sys.argv[2]).same
for name in ("torch", "torchvision", "onnx", "matplotlib"):
    del sys.modules[name]
"""
    assert not modules(code, tmp_path / "g", photo) & TRAINING


def test_without_torch_a_device_says_what_to_install(tmp_path):
    photo = save_face(tmp_path / "Ada.png", 0)
    code = """
import sys
sys.modules["torch"] = None
from facedex.cli import main
sys.argv = ["facedex", "verify", sys.argv[1], sys.argv[1], "--device", "cuda"]
main()
"""
    process = python(code, photo)
    out, errors = process.communicate()
    assert process.returncode == 2
    assert out == ""
    assert "pip install 'facedex[train]'" in errors
    assert errors.count("\n") == 1
