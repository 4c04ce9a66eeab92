"""Validation by link completion: filtered MRR on a fixed draw of the triples of split 'valid'."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore import Store
from k3m import ranks, rng
from k3m.config import TrainConfig
from k3m.model import K3M
from k3m.predictor import ModelPredictor
from k3m.streaming import Stream


@dataclass(frozen=True)
class Validation:
    """The triples that are ranked, and all that is known of their items: read once, and only that much kept."""

    chosen: pd.DataFrame
    known: pd.DataFrame

    @classmethod
    def of(cls, store: Store, config: TrainConfig) -> "Validation":
        splits = store.counts().splits
        places = rng.first(config.eval_triples, splits.get("valid", 0), config.seed, "valid")
        chosen = triples_at(store, "valid", places)
        items = pc.unique(chosen["item"]).to_pylist()
        known = store.triples_of(store.item_ords(items), (None, *splits))
        return cls(chosen.to_pandas(), known.to_pandas())

    def mrr(self, model: K3M, stream: Stream) -> float | None:
        """None where validation is off or the store has no split 'valid'."""
        if self.chosen.empty:
            return None
        predictor = ModelPredictor.of(model, stream, sorted(set(self.chosen["item"])))
        found = ranks.rank_triples(predictor, self.chosen, self.known, stream.candidates)
        return ranks.link_metrics(found, self.chosen["property"].to_numpy())["mrr"]


def triples_at(store: Store, split: str, places: NDArray[np.int64]) -> pa.Table:
    """The triples at these places of `store.triples((split,))`, in the order of the places, read block by block."""
    order = np.argsort(places)
    ascending, passed = places[order], 0
    found = [store.triples_of((), (split,))]
    for block in store.item_blocks() if len(places) else ():
        part = store.triples_of(block, (split,))
        first, end = np.searchsorted(ascending, (passed, passed + len(part)))
        found.append(part.take(ascending[first:end] - passed))
        passed += len(part)
    return pa.concat_tables(found).take(np.argsort(order))
