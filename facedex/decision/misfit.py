"""How rarely a person's own photo resembles the person's other photos as little as a given score says."""

from __future__ import annotations

from facedex.decision.posterior import Scores
from facedex.decision.tail import over_probes

FALSE_WARNINGS = 0.01  # default share of people whom each kind of warning about a photo concerns by mistake


def own_below(scores: Scores, score: float) -> float:
    """The share of right photos that score below `score` against the person's other photos.

    A few photos that a calibration is fitted on are labelled wrongly. They would make a wrong photo look usual. The
    share w of wrong labels follows from the scores below the middle of strangers' scores, where right photos hardly
    ever lie. With G the genuine distribution as fitted, F that of strangers' scores, and m its middle:

        w = G(m) / F(m),    own_below(s) = (G(s) - w F(s)) / (1 - w) above m,  0 below and at least 0

    Quality is left aside on purpose. By it a poor photo of a stranger would count as a poor photo of the person.
    """
    middle = scores.impostor.location
    if score <= middle:
        return 0.0
    wrong = min(scores.genuine_below(middle) / max(_strangers_below(scores, middle), 1e-12), 0.5)
    return max((scores.genuine_below(score) - wrong * _strangers_below(scores, score)) / (1 - wrong), 0.0)


def _strangers_below(scores: Scores, score: float) -> float:
    return 1 - over_probes(scores.impostor.survival(score))
