"""How many answers a user gives until faces have their names: with `facedex review`, and by naming groups alone.

    python -m scripts.benchmarks.review_order PHOTOS [PACK...] [--embeddings teachers.npz] [--corrections CSV]
        [--model FILE] [--asked .05,.25]

PHOTOS, PACK and the options are those of face_grouping.py. The faces go into a gallery as if they had been scanned, and
are grouped. A simulated user then names the largest group without a name, by whom most of its faces show, until nine in
ten faces have their right name. With review, the user also answers questions, rightly, so many for each name as --asked
says: in the order of `Review`, or in a random one.

An answer is a name or a y or n. They do not take equally long. The seconds are those of the keystroke-level model
(Card, Moran and Newell 1980): 1.35 to make up one's mind and .28 a key, with 13 letters and Enter for a name.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from facedex.decision import doubts
from facedex.gallery.gallery import Gallery
from facedex.library import review
from facedex.library.group_names import name_group
from facedex.library.groups import cluster
from facedex.model.modelfile import read_model, shipped_model
from facedex.store.library_rows import FoundFace, SeenFile
from scripts.benchmarks.face_grouping import NAMED, read_photos
from scripts.runner import list_of, run_script

SHARES = (0.5, 0.75, NAMED)
NAME_SECONDS, KEY_SECONDS = 1.35 + 14 * 0.28, 1.35 + 0.28


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("packs", type=Path, nargs="*")
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", default=str(shipped_model()))
    parser.add_argument("--asked", type=list_of(float, 0), default="0.05,0.25")
    options = parser.parse_args()
    model = read_model(options.model)
    parts = [read_photos(options.photos, model, False, None, None)]
    parts += [read_photos(pack, model, True, options.corrections, options.embeddings) for pack in options.packs]
    vectors = np.concatenate([part[0] for part in parts])
    people = np.unique(np.concatenate([part[1] for part in parts]), return_inverse=True)[1]
    print(f"\n{len(people):,} faces of {people.max() + 1:,} people; names + y and n, and seconds\n")
    print("| way | " + " | ".join(f"{share:.0%} right" for share in SHARES) + " | yes |")
    print("|---" * (len(SHARES) + 2) + "|")
    rng = np.random.default_rng(0)

    def by_chance(faces: np.ndarray, probability: np.ndarray) -> np.ndarray:
        return rng.random(len(faces))

    ways = [("groups by size", 0.0, doubts.worth)]
    for asked in options.asked:
        ways += [(f"review, {asked:g} a name", asked, doubts.worth), (f"random, {asked:g} a name", asked, by_chance)]
    for way, asked, worth in ways:
        with mock.patch.object(review, "worth", worth), scanned(options.model, vectors) as gallery:
            show(way, User(gallery, people), asked)


@contextmanager
def scanned(model: str, vectors: np.ndarray) -> Iterator[Gallery]:
    """A gallery with a scanned photo for each embedding (n, d), grouped. The ids of the faces are 1 to n."""
    points = np.zeros((5, 2), np.float32)
    with tempfile.TemporaryDirectory() as folder, Gallery(folder, model, create=True) as gallery:
        files = [
            SeenFile(f"/{at}.jpg", 1, 1, f"{at:064x}", (FoundFace(vector, (0, 0, 1, 1), points, 1.0, 0.0, 1.0),))
            for at, vector in enumerate(vectors)
        ]
        with gallery.changing_library() as store:
            store.library.save(files)
        cluster(gallery)
        yield gallery


class User:
    """Somebody who knows everybody. `people` (n,) is the person of each face."""

    def __init__(self, gallery: Gallery, people: np.ndarray) -> None:
        self._gallery, self._people = gallery, people
        self._review = review.Review(gallery)
        self.names = self.yes = self.no = 0

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """The group of each face without a name, else 0, and whether each face has its right name: both (n,)."""
        faces = self._gallery.library.membership()  # a face of each photo, in the order of the scan
        groups, owners = faces.groups, faces.people
        names = self._gallery.library.people()
        given = np.array([int(names[owner]) if owner else -1 for owner in owners.tolist()])
        return np.where(owners == 0, groups, 0), given == self._people

    def name_largest(self, groups: np.ndarray) -> None:
        """Name the largest group."""
        sizes = np.bincount(groups)
        sizes[0] = 0
        group = int(sizes.argmax())
        name_group(self._gallery, group, str(self._most(groups == group)))
        self.names += 1

    def answer(self, groups: np.ndarray) -> None:
        """Answer a question, if one is left: do most faces of both sides show one person?"""
        question = self._review.question()
        if question is None:
            return
        if question.group:
            one = self._most(groups == question.group)
        else:
            one = int(self._people[question.one.face - 1])
        other = int(question.person) if question.person else self._most(groups == question.other_group)
        self._review.answer(question, one == other)
        self.yes += one == other
        self.no += one != other

    def _most(self, chosen: np.ndarray) -> int:
        return int(np.bincount(self._people[chosen]).argmax())


def show(way: str, user: User, asked: float) -> None:
    """Let a user work until nine in ten faces are right, and print a row."""
    cells: list[str] = []
    while True:
        groups, right = user.state()
        while len(cells) < len(SHARES) and right.mean() >= SHARES[len(cells)]:
            answers = user.yes + user.no
            seconds = user.names * NAME_SECONDS + answers * KEY_SECONDS
            cells.append(f"{user.names:,} + {answers:,}, {seconds:,.0f} s")
        if len(cells) == len(SHARES):
            break
        if user.yes + user.no < asked * user.names:
            user.answer(groups)
        else:
            user.name_largest(groups)
    print(f"| {way} | {' | '.join(cells)} | {user.yes / max(user.yes + user.no, 1):.0%} |", flush=True)


if __name__ == "__main__":
    run_script(main)
