"""The questions of a gallery between requests: found once, and found anew after other changes."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

from facedex.errors import DataError
from facedex.gallery.gallery import Gallery
from facedex.library.cropped_faces import PlacedFace
from facedex.library.review import Question, Review
from facedex.server.face_pictures import crop_path, enrolled_id, scanned_id


class OpenQuestions:
    """The questions that were asked, by id. Threads take turns."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._review: Review | None = None
        self._asked: dict[str, Question] = {}
        self._lock = threading.Lock()
        self.seen = 0  # changes of the server that the review knows

    def first(self, limit: int, changes: int) -> dict[str, Any]:
        """The first questions as JSON, and how many there are. `changes`: how many the server has made so far."""
        with self._lock:
            if self._review is None or self.seen != changes:
                self._review, self._asked, self.seen = Review(self._gallery), {}, changes
            questions = list(islice(self._review.questions(), limit))
            self._asked |= {_id(question): question for question in questions}
            total = max(len(questions), len(self._review))
        return {"questions": [self._json(question) for question in questions], "total": total if questions else 0}

    def answer(self, question: str, same: bool | None) -> int | None:
        """Take an answer, None to leave the question for now; returns the number of the change.

        Raises DataError for a question that is out of date.
        """
        with self._lock:
            review, asked = self._found(question)
            return review.answer(asked, same)

    def _found(self, question: str) -> tuple[Review, Question]:
        if self._review is None or question not in self._asked:
            raise DataError("The question is out of date; ask for the next one")
        return self._review, self._asked.pop(question)

    def _json(self, question: Question) -> dict[str, Any]:
        return {
            "id": _id(question),
            "one": self._side(question.one, None),
            "other": self._side(question.other, question.person),
            "group": question.group,
            "other_group": question.other_group,
            "person": question.person,
            "faces": question.faces,
            "probability": round(question.probability, 6),
        }

    def _side(self, face: PlacedFace, person: str | None) -> dict[str, Any]:
        known = scanned_id(face.face) if face.face or person is None else self._enrolled(face, person)
        box = [round(value, 1) for value in face.box]
        return {"face": known, "crop": crop_path(known), "photo": face.path, "box": box}

    def _enrolled(self, face: PlacedFace, person: str) -> str:
        """The id of an enrolled face, which a question knows by its photo alone: a person has one face in a photo."""
        photos = self._gallery.enrolled_photos(person)[1]
        return enrolled_id(next((photo.face for photo in photos if photo.photo == face.digest), 0))


def _id(question: Question) -> str:
    """The faces and the groups. Names stay out of addresses, which logs may keep."""
    return f"{question.one.face}-{question.other.face}-{question.group}-{question.other_group}"
