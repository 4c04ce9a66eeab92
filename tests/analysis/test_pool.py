"""The pool's weights: by property, warm and cold, on the triples to select by; what decides where nothing does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis.pool import LEAST, Pool, selecting
from graphstore import Store
from k3m.candidates import Candidates
from k3m.validation import in_part

VALUES = ("blue", "red")


class Fixed:
    """Says one value of the items in `right`, another one of the rest."""

    def __init__(self, right: Sequence[str]) -> None:
        self.right = set(right)

    def score(self, property: str, items: Sequence[str]) -> np.ndarray:
        red = np.array([item in self.right for item in items])[:, None]
        return np.log(np.where(np.hstack([~red, red]), 0.9, 0.1))


def _store(extra: Sequence[tuple[str, str, str, str | None]] = (), number: int = 120) -> Store:
    """All items are red; the half of them that ends on an even number has kept it back."""
    items = [f"i{n}" for n in range(number)] + [f"c{n}" for n in range(40)]
    triples: list[tuple[str, str, str, str | None]] = [("blue one", "colour", "blue", None)]
    triples += [(f"i{n}", "colour", "red", None if n % 2 else "valid") for n in range(number)]
    triples += [(f"i{n}", "size", "M", None) for n in range(0, number, 2)]
    columns = ["item", "property", "value", "split"]
    return graphstore.from_tables(
        pd.DataFrame({"id": [*items, "blue one"]}), pd.DataFrame([*triples, *extra], columns=columns)
    )


COLD = [(f"c{n}", "colour", "red", "cold-valid") for n in range(20)]
WARM_ITEMS, COLD_ITEMS = [f"i{n}" for n in range(120)], [f"c{n}" for n in range(40)]


def _pool(store: Store, tabular: Sequence[str], cnn: Sequence[str]) -> Pool:
    return Pool(store, Candidates.from_store(store), Fixed(tabular), Fixed(cnn))


def test_the_better_one_of_a_property_gets_the_weight() -> None:
    store = _store()
    assert _pool(store, WARM_ITEMS, []).weights["colour"] > 0.5
    pool = _pool(store, [], WARM_ITEMS)
    assert pool.weights["colour"] < 0.5
    weight = pool.weights["colour"]
    expected = weight * np.log([0.9, 0.1]) + (1 - weight) * np.log([0.1, 0.9])
    np.testing.assert_allclose(pool.score("colour", ["i1"])[0], expected)


def test_cold_items_have_a_weight_of_their_own() -> None:
    """Cold: without a training triple of what cold-valid asks about. `i0` has one of another property only."""
    store = _store(COLD)
    pool = _pool(store, WARM_ITEMS, COLD_ITEMS)
    assert pool.weights["colour"] > 0.5 > pool.cold_weights["colour"]
    warm, cold, other = pool.score("colour", ["i1", "c39", "i0"])
    assert warm.argmax() == 1
    assert cold.argmax() == 1
    weight = pool.cold_weights["colour"]
    np.testing.assert_allclose(other, weight * np.log([0.1, 0.9]) + (1 - weight) * np.log([0.9, 0.1]))


def test_few_triples_take_the_weight_of_all() -> None:
    few = [(f"i{n}", "shape", "round", "valid") for n in range(LEAST - 1)] + [("i99", "shape", "round", None)]
    pool = _pool(_store(few), WARM_ITEMS, [])
    assert "shape" not in pool.weights
    assert pool.weights[""] > 0.5


def test_without_anything_to_choose_by_both_count_alike() -> None:
    triples = pd.DataFrame([("a", "colour", "red"), ("b", "colour", "blue")], columns=["item", "property", "value"])
    store = graphstore.from_tables(pd.DataFrame({"id": ["a", "b"]}), triples)
    np.testing.assert_allclose(_pool(store, ["a"], []).score("colour", ["a"]), np.log([[0.3, 0.3]]))


def test_it_is_chosen_on_the_part_to_select_by_alone() -> None:
    store = _store()
    valid = store.triples(("valid",))
    selects = in_part(store, valid, "select")
    chosen = selecting(store)["item"].tolist()
    assert chosen == valid.to_pandas().loc[selects, "item"].tolist()
    assert 0 < len(chosen) < 60
    others = set(valid["item"].to_pylist()) - set(chosen)
    assert _pool(store, chosen, list(others)).weights["colour"] > 0.5


@pytest.mark.parametrize("split", ["valid", "cold-valid"])
def test_a_perfect_tie_of_weights_stays_near_the_middle(split: str) -> None:
    pool = _pool(_store(COLD), WARM_ITEMS + COLD_ITEMS, WARM_ITEMS + COLD_ITEMS)
    assert (pool.weights if split == "valid" else pool.cold_weights)["colour"] == 0.5
