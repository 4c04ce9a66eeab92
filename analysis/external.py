"""Any outside predictor, read from a file: `k3m complete --external FILE.parquet`.

Columns item, property, value (strings) and score (a finite number, higher is better), each cell's value once. What the
file says nothing of is ranked all the same: a candidate without a score lies as far below the lowest score that the
file has for the property as the highest lies above it (by one where all are equal, or there is none); such candidates
tie, and ties take the mean rank. A cell without a score is one tie. A value that training has never seen for the
property is no candidate, as for every predictor: such rows are counted and said, and rank nothing.

Confidences are fitted on the cells of split `valid` that the file says something of (`covered`): a file that answers
`test` alone has none, since nothing is known of how often it is right.

Legend: n items asked, K candidates.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Float64

from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import Predictor

TEXTS = ["item", "property", "value"]
COLUMNS = [*TEXTS, "score"]


class External:
    """The scores of a table (columns item, property, value, score)."""

    def __init__(self, scores: pd.DataFrame, candidates: Candidates) -> None:
        self.candidates = candidates
        self._scores = {str(name): rows for name, rows in scores.groupby("property")}

    @classmethod
    def load(cls, path: Path, store: Store, candidates: Candidates) -> "External":
        """
        Raises:
            ValueError: naming the file, and the row (from 1) where one is to blame: other columns, an empty cell, a
                score that is not finite, an item or a property that the store has not, a value twice.
        """
        scores = _read(path)
        finite = np.isfinite(scores["score"].to_numpy())
        _refuse(path, scores, ~finite, "a finite score")
        _refuse(path, scores, ~scores["item"].isin(store.items()["id"].to_pylist()), "an item of the store")
        asked = set(candidates.properties) | set(store.triples(tuple(store.counts().splits))["property"].to_pylist())
        _refuse(path, scores, ~scores["property"].isin(asked), "a property of the store")
        _refuse(path, scores, scores.duplicated(TEXTS), "each value of an item and property once")
        unseen = pd.MultiIndex.from_frame(scores[["property", "value"]])
        known = unseen.isin(pd.MultiIndex.from_frame(candidates.table[["property", "value"]]))
        if not known.all():
            first = scores[~known].iloc[0]
            warnings.warn(
                f"{path}: {(~known).sum()} of {len(scores)} rows name values that training has not for the property; "
                f"they rank nothing; the first: {first['property']!r}, {first['value']!r}",
                stacklevel=2,
            )
        return cls(scores[known], candidates)

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Those of the file; see the module for what it lacks."""
        values = self.candidates.of(property)
        rows = self._scores.get(property)
        scores: Float64[np.ndarray, "n K"] = np.full((len(items), len(values)), -1.0)
        if rows is None:
            return scores
        lowest, highest = rows["score"].min(), rows["score"].max()
        scores[:] = lowest - (highest - lowest or 1.0)
        places = pd.DataFrame({"item": list(items), "row": np.arange(len(items))})
        found = places.merge(rows, on="item")
        scores[found["row"], self.candidates.columns(property, found["value"])] = found["score"]
        return scores

    def covers(self, triples: pd.DataFrame) -> Bool[np.ndarray, " n"]:
        """Whether the file has a score for the cell of each triple (columns item, property)."""
        cells = [rows[["item", "property"]] for rows in self._scores.values()]
        if not cells:
            return np.zeros(len(triples), dtype=bool)
        return pd.MultiIndex.from_frame(triples[["item", "property"]]).isin(pd.MultiIndex.from_frame(pd.concat(cells)))


def covered(predictor: Predictor, triples: pd.DataFrame) -> pd.DataFrame:
    """Of the triples those whose cell the predictor says something of: all, but for an outside one."""
    return triples[predictor.covers(triples)] if isinstance(predictor, External) else triples


def _read(path: Path) -> pd.DataFrame:
    """The columns, in their types."""
    table = pq.read_table(path)
    if sorted(table.column_names) != sorted(COLUMNS):
        raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, got {', '.join(table.column_names)}")
    for name in TEXTS:
        kind = table.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"{path}: expected strings in column {name}, got {kind}")
    kind = table.schema.field("score").type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise ValueError(f"{path}: expected numbers in column score, got {kind}")
    scores = table.select(COLUMNS).to_pandas().astype({"score": np.float64})
    _refuse(path, scores, scores.isna()[TEXTS].any(axis=1), "no empty cell")
    return scores.astype(dict.fromkeys(TEXTS, object))


def _refuse(path: Path, scores: pd.DataFrame, wrong: "pd.Series | np.ndarray", expected: str) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        row = scores.iloc[places[0]]
        got = ", ".join(f"{name} {row[name]!r}" for name in TEXTS) + f", score {row['score']}"
        raise ValueError(f"{path}, row {places[0] + 1}: expected {expected}, got {got} ({len(places)} such rows)")
