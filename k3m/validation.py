"""Validation by link completion: filtered MRR on a fixed draw of triples of split 'valid'.

The split has two parts, by the item's group: one to *select* by (early stopping, settings), one to *calibrate* with
(probabilities, thresholds). Items of one style say the same, so that a group lies in one part; which one follows from
its name alone, in every run.
"""

from dataclasses import dataclass
from typing import Literal

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

Part = Literal["select", "calibrate"]


@dataclass(frozen=True)
class Validation:
    """The triples that are ranked, and all that is known of their items: read once, and only that much kept."""

    chosen: pd.DataFrame
    known: pd.DataFrame

    @classmethod
    def of(cls, store: Store, config: TrainConfig) -> "Validation":
        chosen = drawn_triples(store, config.eval_triples, config.seed)
        items = pc.unique(chosen["item"]).to_pylist()
        known = store.triples_of(store.item_ords(items), (None, *store.counts().splits))
        return cls(chosen.to_pandas(), known.to_pandas())

    def mrr(self, model: K3M, stream: Stream) -> float | None:
        """None where validation is off or the store has nothing to select by."""
        if self.chosen.empty:
            return None
        predictor = ModelPredictor.of(model, stream, sorted(set(self.chosen["item"])))
        found = ranks.rank_triples(predictor, self.chosen, self.known, stream.candidates)
        return ranks.link_metrics(found, self.chosen["property"].to_numpy())["mrr"]


def drawn_triples(store: Store, most: int, seed: int) -> pa.Table:
    """The first `most` of the triples to select by, in a drawn order; read block by block, no more than that kept."""
    kept, draws, passed = store.triples_of((), ("valid",)), np.empty(0), 0
    for block in store.item_blocks() if most else ():
        part = store.triples_of(block, ("valid",))
        part = part.filter(pa.array(in_part(store, part, "select")))
        places = np.arange(passed, passed + len(part))
        draws = np.concatenate([draws, rng.uniform(np.full(len(part), rng.key(seed, "valid")), places)])
        first = np.argsort(draws, kind="stable")[:most]
        kept, draws, passed = pa.concat_tables([kept, part]).take(first), draws[first], passed + len(part)
    return kept


def in_part(store: Store, triples: pa.Table, part: Part) -> NDArray[np.bool_]:
    """Which of the triples (column item) belong to this part: half of the groups (field `group`), an item without one
    being its own."""
    items = triples["item"].to_numpy()
    names = items
    if "group" in store.item_fields():
        own = store.item_features(store.item_ords(items.tolist()), ("group",))["group"]
        names = np.where(pd.isna(own), items, own)
    selects = rng.uniform(rng.item_keys(names, "parts of valid"), np.array([0])) < 0.5
    return selects if part == "select" else ~selects
