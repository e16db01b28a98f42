"""One enrolled person as the answer to one probe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One enrolled person compared with one probe.

    `similarity`: the calibrated probability that both faces are of one person, if half of all pairs were genuine.
    `probability`: the probability that this name is right, given the whole gallery.
    `logit`: the head's, fused over the person's photos.
    """

    name: str
    similarity: float
    probability: float
    logit: float
