"""Name a whole photo library as a user would: scan, cluster, name, export, and read the names by exiftool.

    python -m scripts.benchmarks.library_trial PHOTOS [PACK...] [--corrections CSV] [--model FILE] [--work DIR]
        [--round 100]

PHOTOS is a folder of people whose photos show them near the middle, as LFW's. Each PACK holds aligned faces of further
people. They are put into photos of one to three people on plain grey, since a library is of photos and not of crops.
`facedex scan`, `cluster` and `export --xmp` run as commands.

A simulated user looks at the photos that `cluster` shows of a group, the largest group first. She gives the group the
name of most faces shown there, or ignores it where they are bystanders, whom nobody knows. After so many answers as
--round says the faces are grouped again. She stops when nine in ten faces of known people have a name.

Prints a table in Markdown: how much there was, how many answers it took, what is wrong afterwards, and how many names
exiftool reads at their places. Needs exiftool, and the package scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facedex.errors import DataError
from facedex.faces.boxes import Box
from facedex.gallery.gallery import Gallery
from facedex.library.group_names import ignore_group, name_group
from facedex.library.groups import FaceGroup, cluster
from facedex.photos.images import decode, read_photo
from facedex.photos.listing import find_photos
from facedex.photos.sources import open_people, source_path
from scripts.benchmarks.cluster_command import timed
from scripts.benchmarks.face_grouping import NAMED, labelled
from scripts.runner import run_script

_MOST = 3  # people in one made photo
_MARGIN = 64  # pixels around each face in it
_MIDDLE = 0.3  # a photo's person has the face whose centre lies so near to the middle, as a share of the photo's width


@dataclass(frozen=True)
class Place:
    """Where a person's face has its centre: within `reach` pixels of a point, in both directions."""

    x: float
    y: float
    reach: float
    person: str

    def distance(self, x: float, y: float) -> float:
        """How far a point is from the place's, as a share of the reach: above 1 outside."""
        return max(abs(self.x - x), abs(self.y - y)) / self.reach


Places = dict[str, list[Place]]  # by path of the photo


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("packs", type=Path, nargs="*")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--work", type=Path, help="a new folder for photos and gallery, which then stay")
    parser.add_argument("--round", type=int, default=100)
    options = parser.parse_args()
    if shutil.which("exiftool") is None:
        raise DataError("exiftool is not installed; see https://exiftool.org")
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch) / "trial"
        work.mkdir(parents=True)
        places = copied(options.photos, work / "photos" / "people")
        for pack in options.packs:
            places |= montaged(pack, options.corrections, work / "photos" / pack.stem)
        run(work, places, options)


def run(work: Path, places: Places, options: argparse.Namespace) -> None:
    """Scan, cluster, name, export and compare; print the table."""
    print("| what | figure |\n|---|---|")
    folder, photos = work / "gallery", str(work / "photos")

    def command(name: str, *arguments: str) -> str:
        whole = [sys.executable, "-m", "facedex", name, *arguments, "--gallery", str(folder)]
        seconds, processor, memory = timed(whole)
        return f"{seconds:.0f} s, {processor:.0f} s of the processor, {memory:,.0f} MB"

    model = ["--model", options.model] if options.model else []
    show(f"`facedex scan` of {len(places):,} photos", command("scan", photos, "--quiet", *model))
    show("`facedex cluster`", command("cluster", "--quiet"))
    with Gallery(folder) as gallery:
        user = User(gallery, places)
        known = sum(person is not None for person in user.person_of.values())
        show("faces found", f"{len(user.person_of):,}, {len(user.person_of) - known:,} of them of bystanders")
        show("people who should be found", f"{len({one.person for each in places.values() for one in each}):,}")
        show("photos of which a person was not found", f"{user.missed:,}")
        faces = gallery.library.faces()
        both = np.stack([faces.photos, faces.groups], 1)
        show("groups", f"{len(np.unique(faces.groups)):,}")
        show("faces in the group of another of their photo", str(len(both) - len(np.unique(both, axis=0))))
        user.work(options.round)
        show("answers until nine in ten faces had a name", f"{user.answers:,}, {user.ignored:,} of them `ignore`")
        named, wrong, bystanders = user.outcome()
        show("faces with a name", f"{named:,}")
        show("of these the name of somebody else", f"{wrong:,} ({wrong / named:.2%})")
        show("bystanders with a name", f"{bystanders:,}")
    show("`facedex export --xmp`", command("export", "--xmp", "--quiet"))
    with Gallery(folder) as gallery:
        right, wrong, missing = compared(gallery, read_regions(work / "photos"))
    show("names that exiftool reads at their places", f"{right:,}; {wrong} others, {missing} missing")
    show("`facedex doctor` finds nothing", command("doctor"))


def show(what: str, figure: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {figure} |", flush=True)


# photos


def copied(people: Path, folder: Path) -> Places:
    """Copy a folder of people; the person of each photo is in the middle. Raises DataError."""
    places: Places = {}
    for path in find_photos(people):
        target = folder / path.relative_to(people)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        height, width = read_photo(target).shape[:2]
        places[str(target)] = [Place(width / 2, height / 2, _MIDDLE * width, path.parent.name)]
    if not places:
        raise DataError(f"{people} holds no photos; name a folder with a folder of photos for each person")
    return places


def montaged(pack: Path, corrections: Path | None, folder: Path) -> Places:
    """Put the faces of a pack into photos of one to three people. Raises DataError."""
    folder.mkdir(parents=True)
    keys, people = labelled(pack, corrections)
    person_of = dict(zip(keys, (person.partition("/")[2] for person in people), strict=True))
    rng = np.random.default_rng(0)
    places: Places = {}
    with open_people(pack) as found:
        named = [(photo, key) for photo in found if (key := f"{photo.name}/{Path(photo.source).stem}") in person_of]
        named = [named[at] for at in rng.permutation(len(named))]
        while named:
            together: dict[str, np.ndarray] = {}
            for photo, key in named[: int(rng.integers(1, _MOST + 1))]:
                if person_of[key] in together:
                    break
                together[person_of[key]] = decode(photo.read(), photo.path)
            del named[: len(together)]
            path = str(folder / f"{len(places):05d}.jpg")
            places[path] = list(drawn(together, path))
    return places


def drawn(together: dict[str, np.ndarray], path: str) -> list[Place]:
    """Write a photo of people side by side on plain grey, and return their places."""
    height = max(len(crop) for crop in together.values()) + 2 * _MARGIN
    pixels = np.full((height, sum(crop.shape[1] + 2 * _MARGIN for crop in together.values()), 3), 128, np.uint8)
    places, left = [], _MARGIN
    for person, crop in together.items():
        tall, wide = crop.shape[:2]
        pixels[_MARGIN : _MARGIN + tall, left : left + wide] = crop
        places.append(Place(left + wide / 2, _MARGIN + tall / 2, wide / 2, person))
        left += wide + 2 * _MARGIN
    Image.fromarray(pixels).save(path, quality=95)
    return places


# the user


class User:
    """A user who knows the people of the photos, and answers by what `cluster` shows."""

    def __init__(self, gallery: Gallery, places: Places) -> None:
        """The person of each scanned face (id), None for a bystander."""
        self._gallery = gallery
        self.answers = self.ignored = self.missed = 0
        self.person_of: dict[int, str | None] = {}
        faces = gallery.library.faces()
        sources = gallery.library.sources(faces.photos.tolist())
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, photo in enumerate(faces.photos.tolist()):
            rows_of[source_path(sources[photo][0])].append(row)
            self.person_of[int(faces.ids[row])] = None
        for path, each in places.items():
            for place in each:
                near = [(place.distance(*centre(faces.box(row))), row) for row in rows_of[path]]
                if near and min(near)[0] <= 1:
                    self.person_of[int(faces.ids[min(near)[1]])] = place.person
                else:
                    self.missed += 1

    def work(self, answers: int) -> None:
        """Answer until nine in ten faces of known people have a name, and group the faces after so many answers."""
        while not self._done():
            before = self.answers
            for group in [one for one in cluster(self._gallery) if not one.ignored][:answers]:
                self._answer(group)
                if self._done():
                    return
            if self.answers == before:
                raise DataError("no group is left to name, and many faces have no name; more photos of each may help")

    def _answer(self, group: FaceGroup) -> None:
        """Name a group by the faces shown, or ignore it."""
        faces = self._gallery.library.faces_in_group(group.number)
        sources = self._gallery.library.sources(faces.photos.tolist())
        shown = [
            self.person_of[face]
            for face, photo in zip(faces.ids.tolist(), faces.photos.tolist(), strict=True)
            if source_path(sources[photo][0]) in group.examples
        ]
        (person, _), *_ = Counter(shown).most_common(1)
        self.answers += 1
        if person is None:
            ignore_group(self._gallery, group.number)
            self.ignored += 1
        else:
            name_group(self._gallery, group.number, person)

    def _done(self) -> bool:
        known = sum(person is not None for person in self.person_of.values())
        return self._gallery.library.counts().named >= NAMED * known

    def outcome(self) -> tuple[int, int, int]:
        """How many faces of known people have a name, how many of these a wrong one, and the named bystanders."""
        faces = self._gallery.library.faces()
        given = [
            (name, self.person_of[face]) for face, name in zip(faces.ids.tolist(), faces.names, strict=True) if name
        ]
        known = [(name, person) for name, person in given if person is not None]
        return len(known), sum(name != person for name, person in known), len(given) - len(known)


def centre(box: Box) -> tuple[float, float]:
    """The centre of a box (left, top, width, height), in pixels."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def inside(box: Box, path: str) -> Box:
    """The part of a box that lies in the photo, because XMP knows no place outside."""
    with Image.open(path) as photo:
        width, height = photo.size
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    return left, top, min(box[0] + box[2], width) - left, min(box[1] + box[3], height) - top


# names in other programs

Region = tuple[str, float, float]  # a name, and the centre of its place in pixels


def read_regions(folder: Path) -> dict[str, list[Region]]:
    """The regions with names that exiftool reads in sidecars, by path of the photo."""
    command = ["exiftool", "-json", "-struct", "-r", "-ext", "xmp", "-XMP-mwg-rs:RegionInfo", os.fspath(folder)]
    found: dict[str, list[Region]] = {}
    for photo in json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout):
        info = photo.get("RegionInfo", {})
        width, height = (float(info.get("AppliedToDimensions", {}).get(side, 0)) for side in "WH")
        found[photo["SourceFile"].removesuffix(".xmp")] = [
            (str(region["Name"]), region["Area"]["X"] * width, region["Area"]["Y"] * height)
            for region in info.get("RegionList", [])
            if "Name" in region
        ]
    return found


def compared(gallery: Gallery, regions: dict[str, list[Region]]) -> tuple[int, int, int]:
    """How many regions have the name of the face at their place, how many do not, and how many faces have none."""
    faces = gallery.library.faces()
    sources = gallery.library.sources(faces.photos.tolist())
    right = missing = 0
    for row, name in enumerate(faces.names):
        if name is not None:
            path = source_path(sources[int(faces.photos[row])][0])
            x, y = centre(inside(faces.box(row), path))
            here = regions.get(path, [])
            match = [one for one in here if one[0] == name and max(abs(one[1] - x), abs(one[2] - y)) < 1]
            right += len(match) == 1
            missing += len(match) != 1
    return right, sum(map(len, regions.values())) - right, missing


if __name__ == "__main__":
    run_script(main)
