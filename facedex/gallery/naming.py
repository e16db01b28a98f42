"""Doubts about names that paths give: a camera's names, and folders whose photos show different people.

The rule on faces: the log odds that a pair shows one person, by head and calibration, are averaged over all pairs. A
mean below 0 says that the photos show different people. It was measured on 718 people with several photos: 293 of LFW,
and 425 of CelebA with up to eight photos. 5 of these folders are doubted (0.7 %), with the model `fast` 6. Folders of
three or more people with one photo each are always doubted, folders of two in 98.5 % of 2,000 draws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.model.head import Head
from facedex.photos.sources import NamedPhoto

_KEPT = 32  # faces of a name that later batches are compared with

Vector = NDArray[np.float32]
REMEDY = "put each person's photos in a folder of their own, or give --name NAME; --yes enrolls them all the same"


def camera_doubt(photo: NamedPhoto) -> str:
    """Why a photo that a camera named is not enrolled."""
    return f"{photo.path} has a camera's name, not a person's; {REMEDY}"


def _readings(photo: NamedPhoto) -> tuple[NamedPhoto, NamedPhoto]:
    """The photo as of a lone folder's person, and as of a person in that folder."""
    assert photo.other is not None
    outer, inner = sorted((photo, photo.other), key=lambda reading: -len(reading.parts))
    return outer, inner


class Naming:
    """Names of photos as batches of them come: which of two names a photo has, and which names are doubtful."""

    def __init__(self, head: Head, calibration: Calibration) -> None:
        self._head, self._calibration = head, calibration
        self._of_people: dict[str, bool] = {}  # by lone folder, whether it holds people
        self._doubts: dict[str, str] = {}  # by name
        self._sound = 0  # names of several photos that show one person
        self._vectors: dict[str, list[Vector]] = {}  # of the last batch, by name

    def settle(
        self,
        photos: Sequence[NamedPhoto],
        faces: Mapping[int, Vector],
        names: Callable[[int], set[str]],
    ) -> list[NamedPhoto]:
        """The photos, each with the one of its two names that their faces speak for.

        `faces`: embeddings (dim,) by position of the photo. `names`: gives the names under which the photo at a
        position is enrolled. Where it is enrolled by one of its two names, that one stays.
        """
        open_folders: dict[str, list[int]] = defaultdict(list)
        for position, photo in enumerate(photos):
            if photo.other is not None and photo.lone_folder not in self._of_people:
                open_folders[str(photo.lone_folder)].append(position)
        for folder, positions in open_folders.items():
            self._of_people[folder] = self._holds_people(
                [_readings(photos[at]) for at in positions],
                [faces.get(at) for at in positions],
                [names(at) for at in positions],
            )
        return [
            photo if photo.other is None else _readings(photo)[self._of_people[str(photo.lone_folder)]]
            for photo in photos
        ]

    def _holds_people(
        self, photos: Sequence[tuple[NamedPhoto, NamedPhoto]], faces: Sequence[Vector | None], names: Sequence[set[str]]
    ) -> bool:
        """Whether a lone folder holds people, and is not one person's. `photos`: both readings of each."""
        for (outer, inner), stored in zip(photos, names, strict=True):
            if (inner.name in stored) != (outer.name in stored):
                return inner.name in stored
        seen = [(inner.name, face) for (_, inner), face in zip(photos, faces, strict=True) if face is not None]
        people, groups = np.unique([name for name, _ in seen], return_inverse=True)
        if len(people) < 2:
            return photos[0][1].other is not None  # the likelier reading by the paths knows the other one
        return self._log_odds([face for _, face in seen], groups) < 0

    def doubts(
        self, photos: Sequence[NamedPhoto], faces: Mapping[int, Vector], some_known: bool = False
    ) -> dict[str, str]:
        """The doubtful names of a batch, and why they are. `faces`: embeddings (dim,) by position of the photo.

        A name is also compared with its photos in the batch before. Names that were given by hand are never doubtful.
        While most folders with several faces are doubtful, folders with one face are too. `some_known`: photos of the
        batch are in the gallery already, so that the folders were right before.
        """
        vectors: dict[str, list[Vector]] = defaultdict(list)
        for position, vector in faces.items():
            if photos[position].parts:
                vectors[photos[position].name].append(vector)
        self._sound += some_known
        for name, new in vectors.items():
            together = [*self._vectors.get(name, ()), *new]
            if len(together) > 1 and self._log_odds(together, np.arange(len(together))) < 0:
                self._doubts[name] = f"the photos that would be {name!r} show different people; {REMEDY}"
            elif len(together) > 1:
                self._sound += 1
            vectors[name] = together[-_KEPT:]
        self._vectors = dict(vectors)
        if len(self._doubts) <= self._sound:
            return self._doubts
        in_folders = {photos[position].name for position in faces if len(photos[position].parts) > 1}
        single = (name for name in in_folders if len(vectors[name]) == 1)
        beside = {name: f"the folders beside {name!r} hold different people; {REMEDY}" for name in single}
        return beside | self._doubts

    def _log_odds(self, vectors: Sequence[Vector], groups: NDArray[np.int64]) -> float:
        """The mean log odds of one person, over the pairs of vectors (n, dim) of different groups (n,)."""
        stacked = np.stack(vectors)
        first, second = np.triu_indices(len(stacked), 1)
        different = groups[first] != groups[second]
        logits = self._head.pairwise(stacked, stacked)[first[different], second[different]]
        return float(np.mean(self._calibration.slope * logits + self._calibration.offset))
