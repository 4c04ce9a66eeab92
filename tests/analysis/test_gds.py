"""GDS's nodeSimilarity: votes by hand, kept-back triples, what is left in the server; `K3M_NEO4J_GDS=1
tools/neo4j/server.py run -- python -m pytest tests/analysis/test_gds.py` runs it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis.gds import NodeSimilarity, NoGds, version
from graphstore import Store
from k3m.candidates import Candidates
from tests.analysis.shop import shop

ITEMS = pd.DataFrame({"id": list("abcd")})
TRIPLES = pd.DataFrame(
    [
        ("a", "kind", "hat", None),
        ("a", "size", "M", None),
        ("b", "kind", "hat", None),
        ("b", "size", "M", None),
        ("b", "colour", "red", None),
        ("c", "kind", "hat", None),
        ("c", "colour", "blue", None),
        ("d", "colour", "blue", None),
        ("a", "colour", "blue", "test"),
    ],
    columns=["item", "property", "value", "split"],
)


@pytest.fixture
def server(neo4j_url: str) -> Iterator[Store]:
    with graphstore.open(neo4j_url, "w") as store:
        try:
            version(store)
        except NoGds as reason:
            pytest.skip(f"{reason}: set K3M_NEO4J_GDS=1")
        with graphstore.from_tables(ITEMS, TRIPLES) as tables:
            store.ingest(tables.items(("title",)), tables.triples((None, "test")))
        yield store


def test_votes_are_jaccard_similarities_to_the_twelfth(server: Store) -> None:
    candidates = Candidates.from_store(server)
    scores = NodeSimilarity(server, candidates).score("colour", ["a", "d"])
    # a has hat and M; b those and red: 2 of 3; c hat and blue: 1 of 3. d has blue: 1 of 2 with c, which has blue.
    red, blue = (2 / 3) ** 12, (1 / 3) ** 12
    shares = np.array([[blue, red], [1, 0]]) / np.array([[blue + red], [1]])
    np.testing.assert_allclose(scores, shares + 1e-6 * np.array([2, 1]) / 3, atol=1e-9)
    assert NodeSimilarity(server, candidates).score("unheard", ["a"]).shape == (1, 0)
    assert server.query("CALL gds.graph.list() YIELD graphName RETURN graphName").empty


def test_another_store_says_that_it_has_none() -> None:
    with shop() as store, pytest.raises(NoGds, match="no GDS at memory"):
        NodeSimilarity(store, Candidates.from_store(store))
