import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphstore.lists import passing_over


def test_positions_of_a_shortened_list_in_the_whole_one() -> None:
    """Row 0 is 0 1 2 3 4 less 0, 1 and 3; row 1 lacks nothing."""
    found = passing_over(np.array([[0, 1], [0, -1]]), np.array([0, 0, 0]), np.array([3, 0, 1]))
    assert found.tolist() == [[2, 4], [0, -1]]


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 19), max_size=19), max_size=5))
def test_against_lists(missing: list[set[int]]) -> None:
    left = [[entry for entry in range(20) if entry not in lacking] for lacking in missing]
    width = max(map(len, left), default=0)
    positions = np.array([[k if k < len(row) else -1 for k in range(width)] for row in left]).reshape(len(left), width)
    pairs = [(row, entry) for row, lacking in enumerate(missing) for entry in lacking]
    row, place = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    found = passing_over(positions.astype(np.int64), row, place)
    assert [
        [entry for entry, k in zip(*both, strict=True) if k >= 0] for both in zip(found, positions, strict=True)
    ] == left
