"""The nearest items' votes: by hand, without the answer, and how their number is chosen."""

import numpy as np
import pandas as pd

import graphstore
from analysis.nearest import Nearest
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import link_metrics, rank_triples
from tests.analysis.shop import shop


def _store(titles: dict[str, str], triples: list[tuple]) -> Store:
    return graphstore.from_tables(
        pd.DataFrame({"id": list(titles), "title": list(titles.values())}),
        pd.DataFrame(triples, columns=["item", "property", "value", "split"]),
    )


TITLES = {"a": "red coat", "b": "red coat", "c": "red hat", "d": "green shoe", "e": "nothing alike"}


def test_votes_are_similarities_to_a_power() -> None:
    store = _store(TITLES, [(item, "p", value, None) for item, value in zip("bcd", "xyz", strict=True)])
    nearest = Nearest(store, Candidates.from_store(store))
    assert (nearest.number, nearest.power) == (25, 4)  # nothing to choose by
    scores = nearest.score("p", ["a"])[0]
    # Titles by TF-IDF: b is a's equal, d has no word of it; between a and c is the word they share.
    one = nearest._nearest("p", ["a"], 3).similarity[0]
    np.testing.assert_allclose(one[[0, 2]], [1, 0], atol=1e-6)
    assert 0.1 < one[1] < 0.9
    shares = np.array([1, one[1] ** 4, 0]) / (1 + one[1] ** 4)
    np.testing.assert_allclose(scores, shares + 1e-6 / 3, atol=1e-7)


def test_without_any_likeness_the_shares_in_training_decide() -> None:
    store = _store(TITLES, [("a", "p", "x", None), ("b", "p", "x", None), ("d", "p", "y", None)])
    scores = Nearest(store, Candidates.from_store(store)).score("p", ["e"])
    np.testing.assert_allclose(scores, [[2e-6 / 3, 1e-6 / 3]])


def test_neither_its_own_triple_nor_the_property_s_facts_are_read() -> None:
    """All titles are alike: an item that voted for itself, or was near those of its own value, would stand out."""
    values = ["x", "y"] * 6
    items = {f"i{n:02}": "the same" for n in range(12)}
    store = _store(items, [(item, "p", value, None) for item, value in zip(items, values, strict=True)])
    scores = Nearest(store, Candidates.from_store(store)).score("p", ["i00", "i01"])
    np.testing.assert_allclose(scores - 5e-7, [[5 / 11, 6 / 11], [6 / 11, 5 / 11]], atol=1e-6)


def test_number_and_power_are_chosen_on_valid() -> None:
    """A value's five nearest items are right, the many behind them are not."""
    titles, triples = {}, []
    for n in range(40):
        for k in range(4):
            titles[f"{n}-{k}"] = f"word{n} other"
            triples.append((f"{n}-{k}", "p", f"v{n % 20}" if n < 20 else "common", "valid" if k == 0 else None))
    store = _store(titles, triples)
    nearest = Nearest(store, Candidates.from_store(store))
    assert nearest.number == 5 or nearest.power >= 16


def test_it_reads_title_facts_and_photograph() -> None:
    store = shop(240)
    candidates = Candidates.from_store(store)
    kept_back, known = store.triples(("test",)).to_pandas(), store.triples((None, "test")).to_pandas()
    ranks = rank_triples(Nearest(store, candidates), kept_back, known, candidates)
    for property in ("colour", "length"):
        asked = (kept_back["property"] == property).to_numpy()
        assert link_metrics(ranks[asked], kept_back["property"][asked])["hits_at_1"] > 0.8, property
