"""Questions about faces whose group or name is unsure, the most useful first, and what the answers do.

A question shows two faces and asks whether they are one person's. It is about two groups, about a group and a person
who is known, or about a named face that hardly resembles the person's others. An answer is kept as a link between
faces, so that no question comes again, also after `cluster` or with another model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facedex.decision.clustering import RATE, Cut, close_groups, pair_logits
from facedex.decision.doubts import DEPTH, chance, fits, worth
from facedex.errors import DataError, GroupNotFound
from facedex.gallery.gallery import Gallery
from facedex.index.neighbours import nearest_pairs
from facedex.library.cropped_faces import PlacedFace
from facedex.library.decided import IGNORED, compared_faces, enrolled_owners, known_links, lacking_detail
from facedex.library.group_edits import clearest, join, part, unnamed_in
from facedex.library.group_names import give_name
from facedex.store.face_links import NOT_PERSON, SAME
from facedex.store.store import Store

LEAST = 0.05  # two groups are not asked about where a yes is less probable: the user would answer no all the time
SURE = 0.95  # a named face is not asked about where it belongs to the person with this probability

_PERSON = 1 << 42  # added to what is known of a face, so that no group has this number
_SHOWN = 8  # the clearest faces of each side, of which the two most alike are shown
_FRESH = 10  # answers after which the questions are put in order anew: that takes half a second for 4,000 faces


@dataclass(frozen=True)
class Question:
    """Do these two faces show one person?

    `group`: the group of the face `one`, 0 where a named face is asked about. `other_group`: that of the face `other`,
    0 where a person is meant. `person`: this person, or None. `faces`: how many faces a yes names or joins, or a no
    moves. `probability`: that the answer is yes. `worth`: see decision/doubts.py.
    """

    one: PlacedFace
    other: PlacedFace
    group: int
    other_group: int
    person: str | None
    faces: int
    probability: float
    worth: float


@dataclass(frozen=True)
class _Doubt:
    """A question before its faces are chosen: the units (a, b) of `_Library.units`, or a row and its unit."""

    a: int
    b: int
    row: int | None
    faces: int
    probability: float
    worth: float


class Review:
    """The questions of a gallery, for one user who answers them one by one.

    The questions are found once, and put in order anew after every few answers. Where others have changed the faces of
    a question meanwhile, its answer is refused, and the questions are found anew.
    """

    def __init__(self, gallery: Gallery, rate: float = RATE) -> None:
        """`rate`: that of `cluster`. Raises GalleryDamaged, and ValueError for a rate outside 0..1."""
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {rate}")
        self._gallery, self._rate = gallery, rate
        self._library = _Library(gallery, rate)
        self._doubts: list[_Doubt] | None = None
        self._since = 0  # answers since the questions were put in order
        self._skipped: set[tuple[int, int, str | None]] = set()
        self._answered: list[tuple[Question, int | None]] = []  # with the number of the change, None for a skip

    def question(self) -> Question | None:
        """The most useful question that is open, None where there is none. Skipped ones do not come again."""
        return next(self.questions(), None)

    def questions(self) -> Iterator[Question]:
        """The open questions, the most useful first."""
        if self._doubts is None or self._since >= _FRESH:
            self._doubts, self._since = self._library.doubts(), 0
        elif self._since:
            self._library.refresh()
        for doubt in self._doubts:
            question = self._library.question(doubt)
            if question is not None and _key(question) not in self._skipped:
                yield question
        if self._since:  # answers may have raised new questions
            self._doubts = None
            yield from self.questions()

    def __len__(self) -> int:
        """How many questions were found when they were last put in order; some may have been answered since."""
        if self._doubts is None:
            self._doubts, self._since = self._library.doubts(), 0
        return len(self._doubts)

    def answer(self, question: Question, same: bool | None) -> int | None:
        """Take an answer: yes, no, or None to skip the question for now. Returns what `answer_question` returns.

        Raises what it raises.
        """
        try:
            change = None if same is None else answer_question(self._gallery, question, same)
        except DataError:
            self._doubts = None  # the questions are found anew
            raise
        self._skipped.add(_key(question))
        self._answered.append((question, change))
        self._since += same is not None
        return change

    def undo(self) -> Question | None:
        """Undo the last answer of this review, or the last skip; returns its question, None where there is none.

        Raises GalleryError where another change came after it.
        """
        if not self._answered:
            return None
        question, change = self._answered[-1]
        if change is not None:
            self._gallery.undo(change)
            self._doubts = None
        self._answered.pop()
        self._skipped.discard(_key(question))
        return question


def answer_question(gallery: Gallery, question: Question, same: bool) -> int:
    """Do what an answer says, in one transaction; returns the number of the change, for `Gallery.undo`.

    Yes joins two groups, names a group, or confirms a named face. No keeps the two apart for good, and takes the name
    off a named face. Raises DataError where the question is out of date, GalleryBusy.
    """
    with gallery.changing_library(enrolls=True) as store:
        try:
            if question.person is None:
                _answer_groups(store, question, same)
            elif question.group:
                _answer_person(store, question, same, gallery.calibration.unclear)
            else:
                _answer_face(store, question, same)
        except GroupNotFound:
            raise _out_of_date() from None
        change = store.changes.last_undoable()
    assert change is not None
    return change.number


def _answer_groups(store: Store, question: Question, same: bool) -> None:
    library = store.library
    faces, others = (unnamed_in(library, group) for group in (question.group, question.other_group))
    if question.one.face not in faces.ids or question.other.face not in others.ids:
        raise _out_of_date()
    into, joining = (question.group, question.other_group)
    if len(others) > len(faces):
        faces, others, into, joining = others, faces, joining, into
    if same:
        join(library, faces, others, into, f"group {joining} into group {into}")
    else:
        part(library, "apart", f"group {joining} and group {into}", clearest(faces), clearest(others))


def _answer_person(store: Store, question: Question, same: bool, unclear: float) -> None:
    library = store.library
    faces = unnamed_in(library, question.group)
    person = _person_of(store, question)
    owners = enrolled_owners(library)
    rows = np.array([row for row, face in enumerate(faces.ids.tolist()) if face not in owners], np.int64)
    if question.one.face not in faces.ids[rows]:
        raise _out_of_date()
    if same:
        give_name(store, faces, rows, person[1], unclear, detail=f"group {question.group}")
    else:
        ids = clearest(faces)
        library.decide("not-person", f"group {question.group}", ids, add=_not(ids, person[0]), person=person)


def _answer_face(store: Store, question: Question, same: bool) -> None:
    library, face = store.library, question.one.face
    person = _person_of(store, question)
    now = library.membership()
    if now.people[now.ids == face].tolist() != [person[0]]:
        raise _out_of_date()
    if same:
        library.decide("confirmed", "", [face], add={SAME: [(face, question.other.face)]}, person=person)
        return
    number = library.next_group()
    library.decide(
        "not-person", "", [face], add=_not([face], person[0]), groups={face: number}, unname=[face], person=person
    )


def _not(faces: list[int], person: int) -> dict[str, list[tuple[int, ...]]]:
    return {NOT_PERSON: [(face, person) for face in faces]}


def _person_of(store: Store, question: Question) -> tuple[int, str]:
    """The person of a question. Raises DataError where nobody has this name any more."""
    found = next((entry for entry in store.names().items() if entry[1] == question.person), None)
    if found is None:
        raise _out_of_date()
    return found


def _out_of_date() -> DataError:
    return DataError("The faces of this question were changed meanwhile; ask for the next question")


def _key(question: Question) -> tuple[int, int, str | None]:
    """What makes two questions the same: the faces, and the person."""
    return question.one.face, question.other.face, question.person


class _Library:
    """The faces of a gallery, and where their grouping is unsure now."""

    def __init__(self, gallery: Gallery, rate: float) -> None:
        self._gallery, self._rate = gallery, rate
        self._load()

    def _load(self) -> None:
        """Read all faces, and search for those near each other."""
        gallery, library = self._gallery, self._gallery.library
        self._scanned = library.membership().ids  # they show whether a scan, or somebody else, changed the library
        self.faces = compared_faces(library, gallery.expired_people())
        self._enrolled = gallery.enrolled_faces()
        vectors = np.concatenate([self.faces.vectors, *(block.vectors for block in self._enrolled)])
        self._quality = np.concatenate([self.faces.quality, *(block.quality for block in self._enrolled)])
        self._faint = lacking_detail(self.faces, self._enrolled)
        self._z = gallery.head.project(vectors)
        self._pairs = nearest_pairs(gallery.head, vectors)
        self._logits = pair_logits(self._z, gallery.head.beta, self._pairs)
        self._place()

    def refresh(self) -> None:
        """Read which faces have which group and name now."""
        now = self._gallery.library.membership()
        if not np.array_equal(now.ids, self._scanned):
            self._load()
            return
        rows = np.searchsorted(now.ids, self.faces.ids)
        self.faces = replace(self.faces, groups=now.groups[rows], people=now.people[rows])
        self._place()

    def _place(self) -> None:
        """Put each face into its unit: a group without a name, or a person."""
        library = self._gallery.library
        self._links, self._same = known_links(library, self.faces, self._enrolled)
        known, groups = self._links.person, np.zeros(len(self._links.person), np.int64)
        groups[: len(self.faces)] = self.faces.groups
        self._units = np.where(known > 0, known + _PERSON, groups)
        self._names = library.people()
        order = np.argsort(self._units, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self._units[order])) + 1)
        self._rows = {int(self._units[rows[0]]): rows for rows in parts if len(rows)}

    def doubts(self) -> list[_Doubt]:
        """What is unsure now, the most useful first."""
        self.refresh()
        if not len(self.faces):
            return []
        head, calibration = self._gallery.head, self._gallery.calibration
        cut = Cut.for_people(calibration, len(self._rows), self._rate)
        known = self._pairs, self._logits, self._links, self._units
        a, b, excess = close_groups(self._z, head.beta, cut, *known, DEPTH, self._faint)
        low, high = np.minimum(a, b), np.maximum(a, b)  # a person comes second
        joined = {tuple(sorted(pair)) for pair in self._units[self._same].tolist()}
        sizes = [np.array([len(self._rows[unit]) for unit in side.tolist()], np.int64) for side in (low, high)]
        probability = chance(calibration, excess, cut.lowered(*sizes))
        found = [
            self._doubt(one, other, None, min(len(self._rows[one]), self._moving(other)), p)
            for one, other, p in zip(low.tolist(), high.tolist(), probability.tolist(), strict=True)
            if p >= LEAST
            and 0 < one < IGNORED
            and (other < IGNORED or other - _PERSON in self._names)
            and (one, other) not in joined
        ]
        probability = chance(calibration, fits(self._z, head.beta, cut, self._units))
        found += [
            self._doubt(int(self._units[row]), int(self._units[row]), row, 1, float(probability[row]))
            for row in self._weak(probability)
        ]
        return sorted(found, key=lambda doubt: -doubt.worth)

    def _doubt(self, a: int, b: int, row: int | None, faces: int, probability: float) -> _Doubt:
        value = float(worth(np.array([faces]), np.array([probability]))[0])
        return _Doubt(a, b, row, faces, probability, value)

    def _moving(self, unit: int) -> int:
        """How many faces of a unit could move: all of a group. Those of a person stay, and so are no limit."""
        return len(self._rows[unit]) if unit < IGNORED else len(self.faces)

    def _weak(self, probability: NDArray[np.float64]) -> list[int]:
        """The rows of named faces that hardly resemble the person's others, and were not confirmed.

        Faces that are enrolled are left out: `doctor` tells which of them look wrong.
        """
        owners, confirmed = enrolled_owners(self._gallery.library), set(self._same.ravel().tolist())
        rows = np.flatnonzero((self.faces.people > 0) & (probability[: len(self.faces)] < SURE)).tolist()
        return [row for row in rows if int(self.faces.ids[row]) not in owners and row not in confirmed]

    def question(self, doubt: _Doubt) -> Question | None:
        """The question for a doubt, None where it has become pointless."""
        if doubt.row is not None:
            if doubt.row >= len(self._units) or self._units[doubt.row] != doubt.b:
                return None
            # A confirmation is a link of two scanned faces.
            others = [row for row in self._rows[doubt.b].tolist() if row != doubt.row and row < len(self.faces)]
            rows, group = [doubt.row], 0
        else:
            if doubt.a not in self._rows or doubt.b not in self._rows:
                return None
            rows, others, group = self._rows[doubt.a].tolist(), self._rows[doubt.b].tolist(), doubt.a
        if not others:
            return None
        one, other = self._most_alike(rows, others)
        person = self._names.get(doubt.b - _PERSON)
        other_group = 0 if doubt.b >= IGNORED else doubt.b
        places = self._placed(one), self._placed(other)
        return Question(*places, group, other_group, person, doubt.faces, doubt.probability, doubt.worth)

    def _most_alike(self, rows: list[int], others: list[int]) -> tuple[int, int]:
        """A row of each side: among the clearest faces of both, the two that resemble each other most."""
        one, other = (sorted(side, key=lambda row: -self._quality[row])[:_SHOWN] for side in (rows, others))
        pairs = np.stack(np.meshgrid(one, other, indexing="ij"), -1).reshape(-1, 2)
        a, b = pairs[int(np.argmax(pair_logits(self._z, self._gallery.head.beta, pairs)))].tolist()
        return a, b

    def _placed(self, row: int) -> PlacedFace:
        """Where the face of a row is."""
        if row < len(self.faces):
            sources = self._gallery.library.sources([int(self.faces.photos[row])]).get(int(self.faces.photos[row]), [])
            return PlacedFace(int(self.faces.ids[row]), tuple(sources), self.faces.digests[row], self.faces.box(row))
        face = int(np.concatenate([block.ids for block in self._enrolled])[row - len(self.faces)])
        name = self._names[int(self._links.person[row])]
        photo = next(one for one in self._gallery.enrolled_photos(name)[1] if one.face == face)
        return PlacedFace(0, (photo.source,), photo.photo, photo.box)
