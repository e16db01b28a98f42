"""Joint, head and calibration for an encoder that stays as it is: `facedex train` without torch.

Every photo is encoded once. Three small parts are fitted: the first principal components of the networks' vectors side
by side, the head's weights, and the calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facedex.data.dataset import Faces, some_people
from facedex.decision.calibration import fit_calibration
from facedex.decision.fitting import sample
from facedex.errors import DataError
from facedex.evaluation.matchers import head_matcher
from facedex.model.encoder import Joint, Networks
from facedex.model.head import head_tensors
from facedex.model.modelfile import ModelFile
from facedex.model.vectors import principal_axes, unit
from facedex.training import judging
from facedex.training.headfit import BETTER, STEPS, FittedHead, choosing_score, fit_head
from facedex.training.judging import Judgement, Tuned

DIM = 128  # numbers of an embedding that is projected
_MOST_PEOPLE = 2000  # that the head is fitted to: more do not change the figures
_FACES_A_NUMBER = 20  # a projection needs so many faces for each number that goes in
_BLOCK = 64  # faces encoded between two calls of `progress`

Progress = Callable[[int, int], None]


def fit_frozen(
    start: ModelFile,
    faces: Faces,
    output: Path,
    *,
    held: Faces | None = None,
    seed: int = 0,
    steps: int = 0,
    force: bool = False,
    least: int = judging.LEAST_PEOPLE,
    progress: Progress = lambda done, total: None,
) -> Tuned:
    """Fit projection, head and calibration of the frozen networks of `start` to `faces`, and write `output`.

    Nothing is written if the model got worse on people kept out, unless with `force`. `held` are kept out, or else
    some of `faces`. With fewer than `least` people of LEAST_PHOTOS photos only the calibration is fitted. A `start`
    without a head gets its first one, and is not judged. Raises DataError, ModelError, OSError.
    """
    if not len(faces):
        raise DataError("No photo is left to learn from; give other people, or other --corrections")
    begun = "head.v" in start.tensors
    encode = _Encoding(start, progress)
    if begun and not judging.enough_people(faces, least):
        before = head_matcher(start)
        parts = [faces] if held is None else [faces, held]
        encode.of(*(part.select(sample(part.people)) for part in parts))
        adapted, gain = judging.calibrated(start, before, encode.embedded, faces, held, seed)
        if gain.worse and not force:
            return Tuned("calibration", None, gain)
        adapted.save(output)
        return Tuned("calibration", adapted, gain)

    known, choosing, calibrating, judges = judging.split(faces, held, judged=begun)
    known = some_people(known, _MOST_PEOPLE, seed)
    choosing, calibrating = (part.select(sample(part.people)) for part in (choosing, calibrating))
    encode.of(known, choosing, calibrating, judges)
    chosen = _projection(encode, known, choosing)
    vectors = chosen(encode.raw(known))[0]
    first = FittedHead(*head_tensors(start)) if begun and chosen is encode.own else None
    choosing_vectors = chosen(encode.raw(choosing))[0]
    head = fit_head(vectors, known.people, choosing_vectors, choosing.people, first, seed, steps or STEPS)
    matcher = head.matcher()

    embedded, quality = chosen(encode.raw(calibrating))
    after = matcher.matrix(embedded)
    fitted = fit_calibration(after, calibrating.people, quality)
    judgement: Judgement | None = None
    if begun:
        before = head_matcher(start)
        was = judging.tars(before, encode.embedded(judges), judges.people, seed)
        now = judging.tars(matcher, chosen(encode.raw(judges))[0], judges.people, seed)
        judgement = judging.judged(was, now, len(judges.names))
        if judgement.worse and not force:
            return Tuned("projection and head", None, judgement)
        logits = before.matrix(encode.embedded(calibrating))
        people = len(calibrating.names)
        fitted = judging.with_own_tail_or_old(fitted, start, people, logits, after, calibrating.people)

    kept = {name: value for name, value in start.tensors.items() if not name.startswith(("head.", "projection."))}
    data = {
        "people": len(known.names),
        "photos": len(known),
        "sha256": known.digest(),
        "validation_people": len(choosing.names),
        "calibration_people": len(calibrating.names),
    }
    meta = {**start.meta, "dim": chosen.dim, "calibration": fitted.to_meta(), "data": data}
    if judgement is not None:
        meta["tuned"] = {"people": len(known.names), "photos": len(known), **judgement.facts()}
    model = ModelFile({**kept, **chosen.tensors(), **head.tensors()}, meta)
    model.save(output)
    return Tuned("projection and head", model, judgement)


class _Encoding:
    """The vectors of a model's networks; each photo is encoded once."""

    def __init__(self, model: ModelFile, progress: Progress) -> None:
        self._networks, self._progress = Networks(model), progress
        made = {"head.v", "projection.matrix"} & model.tensors.keys()
        self.own = Joint.from_file(model, self._networks.width) if made else None
        self._known: dict[tuple[int, int], list[np.ndarray]] = {}
        self._done = self._total = 0

    def of(self, *parts: Faces) -> None:
        """Encode all faces of these parts."""
        self._total = sum(map(len, parts))
        for part in parts:
            self.raw(part)

    def embedded(self, part: Faces) -> np.ndarray:
        """The model's own unit embeddings of these faces, (n, dim) float32."""
        assert self.own is not None
        return self.own(self.raw(part))[0]

    def raw(self, part: Faces) -> list[np.ndarray]:
        """The vectors of each network for these faces, (n, its dim) float32."""
        places = [(id(part.crops), int(row)) for row in part.rows]
        missing = np.array([at for at, place in enumerate(places) if place not in self._known], np.int64)
        for start in range(0, len(missing), _BLOCK):
            block = missing[start : start + _BLOCK]
            found = self._networks(part.crops112(block))
            for at, *vectors in zip(block, *found, strict=True):
                self._known[places[at]] = vectors
            self._done += len(block)
            self._progress(self._done, max(self._total, self._done))
        return [np.stack(column) for column in zip(*(self._known[place] for place in places), strict=True)]


def _projection(encode: _Encoding, known: Faces, choosing: Faces) -> Joint:
    """The model's own projection, or one fitted to `known` where there is none, or where it is clearly better.

    Two projections are compared on `choosing`.
    """
    raw = encode.raw(known)
    width = sum(part.shape[1] for part in raw)
    if encode.own is None:
        return Joint(width) if len(raw) == 1 and width <= DIM else principal(raw, min(DIM, width))
    if width <= DIM or len(known) < _FACES_A_NUMBER * width:
        return encode.own
    other = principal(raw, DIM)
    vectors = [one(encode.raw(choosing))[0] for one in (encode.own, other)]
    scores = [choosing_score(each @ each.T, choosing.people) for each in vectors]
    return other if scores[1] > scores[0] + BETTER else encode.own


def principal(raw: list[np.ndarray], dim: int) -> Joint:
    """The first `dim` principal components of unit vectors side by side, (n, each's dim), about their mean.

    See `principal_axes`.
    """
    joined = np.concatenate([unit(part)[0] for part in raw], axis=1).astype(np.float64)
    centre = joined.mean(0)
    return Joint(dim, centre.astype(np.float32), principal_axes(joined - centre, dim).astype(np.float32))
