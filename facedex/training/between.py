"""Networks between two: weights on the line from those that a run began with to those that it ended with.

Such a network keeps most of what the first one knew, and has most of what the run taught (Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from facedex.training.siamese import Siamese

SHARES = (0.75, 0.5, 0.25)  # of the way from the first network to the last


def between(first: Siamese, last: Siamese) -> Iterator[tuple[float, Siamese]]:
    """Each of SHARES with its network, the one nearest to the last first. Both have the same architecture."""
    ends = first.state_dict(), last.state_dict()
    for share in SHARES:
        network = copy.deepcopy(first).eval()
        mixed = {
            name: a.lerp(ends[1][name].to(a), share) if a.is_floating_point() else a for name, a in ends[0].items()
        }
        network.load_state_dict(mixed)
        yield share, network
