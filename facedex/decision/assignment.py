"""Names for the faces of one photo, no name twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def assign(gains: Sequence[dict[str, float]]) -> list[str | None]:
    """A name or None for each face, so that no name is given twice and the sum of gains is the largest.

    `gains` holds for each face its possible names, and by how much (>= 0) each passes the threshold. None gains 0. A
    face never gets a name outside its own, whatever the other faces get.
    """
    first = [max(options, key=options.__getitem__) if options else None for options in gains]
    wanted = [name for name in first if name is not None]
    if len(set(wanted)) == len(wanted):
        return first  # no name is wanted twice
    names = sorted({name for options in gains for name in options})
    column = {name: at for at, name in enumerate(names)}
    # An extra column for each face stands for no name.
    gain = np.full((len(gains), len(names) + len(gains)), -np.inf)
    for row, options in enumerate(gains):
        gain[row, [column[name] for name in options]] = list(options.values())
        gain[row, len(names) + row] = 0.0
    return [names[at] if at < len(names) else None for at in _best(gain)]


def _best(gain: np.ndarray) -> list[int]:
    """A different column for each row, with the largest sum of gains (n, m), n <= m, -inf where not allowed.

    The Hungarian method by shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987), O(n^2 m).
    """
    rows, columns = gain.shape
    cost = -gain
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)
    for start in range(rows):
        distance = np.full(columns, np.inf)
        before = np.full(columns, -1)  # the column before each on the shortest path
        done = np.zeros(columns, bool)
        row, reached, at = start, 0.0, -1
        while True:
            step = reached + cost[row] - row_price[row] - column_price
            better = ~done & (step < distance)
            distance[better], before[better] = step[better], at
            at = int(np.argmin(np.where(done, np.inf, distance)))
            reached = float(distance[at])
            if owner[at] < 0:
                break
            done[at] = True
            row = int(owner[at])
        # Prices change so that every chosen pair stays tight.
        row_price[start] += reached
        for column in np.flatnonzero(done):
            row_price[owner[column]] += reached - distance[column]
            column_price[column] -= reached - distance[column]
        while at >= 0:
            previous = int(before[at])
            owner[at] = owner[previous] if previous >= 0 else start
            at = previous
    chosen = [0] * rows
    for column in np.flatnonzero(owner >= 0):
        chosen[owner[column]] = int(column)
    return chosen
