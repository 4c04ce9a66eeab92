"""The database's own: Neo4j Graph Data Science, where the server has it.

`nodeSimilarity` (Jaccard over the values that two items share in training) names the items most alike; those of them
that have the asked property vote with similarity ** POWER. It runs in the server, on a projection of the training
triples alone that is dropped afterwards; nothing is written. The link-prediction pipeline of GDS is not here: it has no
call for chosen pairs and no typed relationships.

Legend: n items asked, K candidates.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse  # type: ignore[import-untyped]

from analysis.features import holders, shares_of_votes
from graphstore import Store, StoreError
from k3m.candidates import Candidates

NUMBER, POWER = 50, 12
_GRAPH = "k3m-items-values"
_PROJECT = (
    "MATCH (i:Item)-[h:HAS]->(v:Value) WHERE h.split IS NULL "
    "WITH gds.graph.project($graph, i, v) AS projected RETURN projected.relationshipCount AS triples"
)
_SIMILAR = (
    "CALL gds.nodeSimilarity.stream($graph, {topK: $number, concurrency: 1}) YIELD node1, node2, similarity "
    "WITH gds.util.asNode(node1).ord AS item, gds.util.asNode(node2).ord AS other, similarity "
    "RETURN item, collect(other) AS others, collect(similarity) AS similarities"
)
_DROP = "CALL gds.graph.drop($graph, false) YIELD graphName RETURN graphName"


class NoGds(ValueError):
    """The store is no Neo4j server, or one without Graph Data Science."""


def version(store: Store) -> str:
    """Of Graph Data Science.

    Raises:
        NoGds: naming the store.
    """
    try:
        return str(store.query("RETURN gds.version() AS version")["version"][0])
    except StoreError as error:
        raise NoGds(f"no GDS at {store.location}") from error


class NodeSimilarity:
    """Votes of the items that GDS finds most alike."""

    def __init__(self, store: Store, candidates: Candidates, number: int = NUMBER) -> None:
        """
        Raises:
            NoGds: where the store has none.
        """
        version(store)
        self.candidates = candidates
        training = store.triples().to_pandas()
        self._items = pd.Index(store.items()["id"].to_pylist())
        self._training = {str(name): rows for name, rows in training.groupby("property")}
        self._none = training.iloc[:0]
        self._ballots = self._asked(store, number)

    def _asked(self, store: Store, number: int) -> sparse.csr_matrix:
        """The weight of each item's vote for each other."""
        size = (len(self._items), len(self._items))
        store.query(_DROP, graph=_GRAPH)  # that a command which was ended has left
        if not self._training:
            return sparse.csr_matrix(size)
        try:
            store.query(_PROJECT, graph=_GRAPH)
            found = store.query(_SIMILAR, graph=_GRAPH, number=number)
        finally:
            store.query(_DROP, graph=_GRAPH)
        lengths = found["others"].map(len).to_numpy(dtype=np.int64)
        ords = np.repeat(found["item"].to_numpy(dtype=np.int64), lengths)
        others = np.concatenate([np.empty(0, np.int64), *found["others"]]).astype(np.int64)
        similarity = np.concatenate([np.empty(0), *found["similarities"]])
        places = self._items.get_indexer(pd.Index(store.item_ids(np.arange(len(self._items)))))
        return sparse.csr_matrix((similarity**POWER, (places[ords], places[others])), size)

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Shares of the votes, and the values' shares in training behind them."""
        held = holders(self._training.get(property, self._none), self._items, property, self.candidates)
        asked = self._ballots[self._items.get_indexer(pd.Index(items))]
        return shares_of_votes(asked, held, self.candidates.counts(property))
