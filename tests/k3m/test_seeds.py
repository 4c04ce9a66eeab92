from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from k3m import rng, seeds
from k3m.seeds import BLOCK, BUFFER, ShuffledItems


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300), block=st.integers(1, 40), buffer=st.integers(1, 5), seed=st.integers(0, 9), data=st.data()
)
def test_every_item_once_and_the_rest_from_any_start(
    n: int, block: int, buffer: int, seed: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds, "BLOCK", block)
        patch.setattr(seeds, "BUFFER", buffer)
        whole = list(ShuffledItems(n, seed, 0))
        assert sorted(whole) == list(range(n))
        start = data.draw(st.integers(0, n + 3))
        rest = ShuffledItems(n, seed, 0, start=start)
        assert list(rest) == whole[start:]
        assert len(rest) == len(whole[start:])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = list(ShuffledItems(5000, 0, 0))
    assert first == list(ShuffledItems(5000, 0, 0))
    assert first != list(ShuffledItems(5000, 0, 1))
    assert first != list(ShuffledItems(5000, 1, 0))


def test_a_small_catalogue_is_shuffled_whole() -> None:
    """A permutation of 1,000 items leaves half of them in their half."""
    first_half = np.array(list(ShuffledItems(1000, 0, 0)))[:500]
    assert abs((first_half < 500).mean() - 0.5) < 0.08  # 3.5 deviations


def test_a_large_catalogue_comes_in_buffers_of_blocks_in_a_drawn_order() -> None:
    items = np.array(list(ShuffledItems(3 * BUFFER * BLOCK + 5, 0, 0)))
    blocks = [set(held // BLOCK) for held in np.split(items, [BUFFER * BLOCK])]
    assert len(blocks[0]) in (BUFFER, BUFFER + 1)  # one more where the short block is among them
    assert blocks[0] != set(range(BUFFER))
    assert np.abs(np.diff(items[:BLOCK])).mean() > BLOCK


def test_a_late_start_draws_nothing_of_what_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    own, drawn = rng.order, []

    def counted(n: int, *purpose: object) -> NDArray[np.int64]:
        drawn.append(n)
        return own(n, *purpose)

    monkeypatch.setattr(rng, "order", counted)
    list(islice(ShuffledItems(4 * BUFFER * BLOCK, 0, 0, start=3 * BUFFER * BLOCK + 1), 2))
    assert drawn == [4 * BUFFER, BUFFER * BLOCK]
