"""Positions in lists that lack some of their entries."""

import numpy as np

from graphstore.tables import Ints


def passing_over(positions: Ints, row: Ints, place: Ints) -> Ints:
    """Where positions of shortened lists are in the whole ones.

    Args:
        positions: [n, k], of row k's list less its missing entries.
        row, place: the missing entries, each once: the row, and the place in its whole list.

    Returns:
        [n, k], places in the whole lists.
    """
    order = np.lexsort((place, row))
    row, place = row[order], place[order]
    first = np.searchsorted(row, np.arange(len(positions) + 1))
    missing = np.diff(first)
    found = positions.copy()
    for nth in range(missing.max(initial=0)):  # the nth missing entry of every row that has as many
        rows = np.flatnonzero(missing > nth)
        found[rows] += found[rows] >= place[first[rows] + nth, None]
    return found
