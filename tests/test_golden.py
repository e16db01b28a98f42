"""Galleries of every version of the format open, answer as they did, and can be changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from facedex.gallery.gallery import Gallery
from facedex.store import schema
from tests.golden import make
from tests.helpers import record, unwritable

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))


@pytest.fixture(params=VERSIONS)
def golden(request, tmp_path):
    """A copy of one golden gallery, and what is expected of it."""
    folder = Path(shutil.copytree(GOLDEN / request.param, tmp_path / "g"))
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    (folder / "expected.json").unlink()
    return folder, expected


def check(opened, expected):
    assert [[person.name, person.photos] for person in opened.people()] == expected["people"]
    assert opened.faces == expected["faces"]
    if "scanned" in expected:
        assert make.scanned(opened) == expected["scanned"]
    else:  # version 1 has no library
        assert opened.library.files() == {}
    for found, right in zip(make.answers(opened), expected["answers"], strict=True):
        assert [name for name, _ in found] == [name for name, _ in right]
        np.testing.assert_allclose([logit for _, logit in found], [logit for _, logit in right], atol=1e-4)


def test_there_is_one_of_each_version():
    assert [f"v{number + 1}" for number in range(len(schema.MIGRATIONS))] == VERSIONS


def test_it_opens_and_answers_as_it_did(golden):
    folder, expected = golden
    with Gallery(folder) as opened:
        check(opened, expected)
        assert make.changes(opened) == expected.get("changes", [])


def test_it_answers_as_it_did_without_its_index(golden):
    folder, expected = golden
    for path in folder.iterdir():
        if path.name != "gallery.db" and not path.name.startswith("model-"):
            path.unlink()
    with Gallery(folder) as opened:
        check(opened, expected)


def test_the_newest_version_opens_on_a_read_only_medium():
    with unwritable(GOLDEN / VERSIONS[-1]) as copy, Gallery(copy) as opened:
        assert len(opened) > 0


def test_it_can_be_changed(golden):
    folder, expected = golden
    late = make.vectors(1, seed=2)[0]
    with Gallery(folder) as opened:
        opened.add_faces([record("Zoe", late)])
        opened.rename("Bob", "Robert")
        assert opened.match(late, top=1)[0].name == "Zoe"
        assert opened.remove("Zoe") == 1
        opened.rename("Robert", "Bob")
        check(opened, expected)
    with Gallery(folder) as again:
        check(again, expected)
