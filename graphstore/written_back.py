"""What comes back into a database: completions, what people say of them, and vectors of items.

Training reads none of it. A value that no triple has gets a node without an ordinal. Vectors of two models cannot be
compared: a database holds those of one at a time.
"""

from abc import abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from graphstore import changes, predictions
from graphstore.errors import NoEmbedding, UnknownProposals
from graphstore.predictions import PROPOSED, PROPOSED_COLUMNS, RUN_KEY, PredictionReport, Settled, Verdict
from graphstore.store import Store, Vectors

_PREDICTED = (
    "RETURN i.id AS item, p.property AS property, v.text AS value, coalesce(p.run, '') AS run, p.`rank` AS `rank`, "
    "p.confidence AS confidence, p.model AS model, p.status AS status"
)
OF_RUN = f"MATCH (i:Item)-[p:PREDICTED]->(v:Value) WHERE p.run = $run {_PREDICTED}"
OF_ITEMS = f"MATCH (i:Item)-[p:PREDICTED]->(v:Value) WHERE i.id IN $items {_PREDICTED}"
REVIEWED = f"MATCH (i:Item)-[p:PREDICTED]->(v:Value) WHERE p.status IN ['accepted', 'rejected'] {_PREDICTED}"
WIDTH = "MATCH (i:Item {id: $id}) RETURN size(i.embedding) AS width"
_BATCH = 10_000


class WrittenBackStore(Store):
    """A database, as far as it takes back what was made from it."""

    def _write_predictions(self, rows: pa.Table, run: str, model: str, created: datetime) -> PredictionReport:
        there = self._predicted(OF_RUN, run=run)
        given = _with_texts(rows, {"run": run, "model": model})
        found = changes.difference(given, there.select([*RUN_KEY, *PROPOSED_COLUMNS]), RUN_KEY, prune=True)
        open_ones = there.filter(pc.equal(pc.fill_null(there["status"], PROPOSED), PROPOSED)).select(list(RUN_KEY))
        gone = found.gone.join(open_ones, list(RUN_KEY), join_type="inner")
        stamp = {"created": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._add_values(found.new["value"])
        self._remove_proposals(gone)
        self._update_predictions(_with_texts(found.changed, stamp))
        self._add_predictions(_with_texts(found.new, stamp | {"status": PROPOSED}))
        kept = len(found.gone) - len(gone)
        return PredictionReport(len(found.new), len(found.changed), found.unchanged, len(gone), kept)

    def _add_values(self, texts: pa.ChunkedArray) -> None:
        there = self._rows("MATCH (v:Value) RETURN v.text AS text")["text"].cast(pa.string()).combine_chunks()
        distinct = pc.unique(texts)
        new = distinct.filter(pc.invert(pc.is_in(distinct, there)))
        self._add_nodes("Value", "text", pa.table({"text": new}))

    def _review(self, proposals: pa.Table, verdict: Verdict) -> int:
        found, missing = self._found(proposals)
        self._require_proposals(missing, len(proposals))
        changed = found.loc[found["status"] != verdict, list(RUN_KEY)].assign(status=verdict)
        self._update_predictions(pa.Table.from_pandas(changed, preserve_index=False))
        return len(changed)

    def _withdraw(self, proposals: pa.Table) -> int:
        found, _ = self._found(proposals)
        open_ones = found.loc[found["status"].fillna(PROPOSED) == PROPOSED, list(RUN_KEY)]
        self._remove_proposals(pa.Table.from_pandas(open_ones, preserve_index=False))
        return len(open_ones)

    def _found(self, proposals: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Those of the proposals that are there, and those that are not."""
        items = pc.unique(proposals["item"]).to_pylist()
        parts = [
            self._predicted(OF_ITEMS, items=items[start : start + _BATCH]) for start in range(0, len(items), _BATCH)
        ]
        there = pa.concat_tables([predictions.SCHEMA.empty_table(), *parts])
        return predictions.found_proposals(proposals, there)

    def _require_proposals(self, missing: pd.DataFrame, asked: int) -> None:
        if len(missing):
            first = missing.iloc[0]
            of_run = "" if pd.isna(first["run"]) else f" of run {first['run']}"
            raise UnknownProposals(
                f"{self.location} has no proposal <{first['item']}, {first['property']}, {first['value']}>{of_run} "
                f"({len(missing)} unknown of {asked} asked for; nothing was changed)"
            )

    def _settled(self) -> Settled:
        return Settled.of(self._predicted(REVIEWED))

    def _rejections(self) -> pa.Table:
        return self._settled().rejected

    def _predicted(self, cypher: str, **parameters: Any) -> pa.Table:
        return self._rows(cypher, **parameters).cast(predictions.SCHEMA)

    # Vectors

    def _write_embeddings(self, parts: Iterable[Vectors], run: str, model: str, version: str) -> int:
        written = 0
        self._remove_vectors_but(model)
        for ids, vectors in parts:
            held = {"embedding_run": run, "embedding_model": model, "embedding_version": version}
            self._set_vectors(_with_texts(pa.table({"id": list(ids), "embedding": _lists(vectors)}), held))
            written += len(ids)
        self._index_vectors()
        return written

    def _similar(self, item: str, k: int) -> pd.DataFrame:
        width = self._width(item)
        if width is None:
            raise NoEmbedding(
                f"{self.location}: item {item!r} has no vector: k3m embed --run RUN --store {self.location}"
            )
        return self._nearest(item, k, width)

    def _width(self, item: str) -> int | None:
        width: int | None = self._rows(WIDTH, id=item)["width"][0].as_py()
        return width

    # Hooks

    @abstractmethod
    def _rows(self, cypher: str, **parameters: Any) -> pa.Table:
        """Rows of one of our own queries."""

    @abstractmethod
    def _add_nodes(self, label: str, key: str, rows: pa.Table) -> None: ...

    @abstractmethod
    def _add_predictions(self, rows: pa.Table) -> None:
        """Of item, value and PREDICTED_COLUMNS, in any order."""

    @abstractmethod
    def _update_predictions(self, rows: pa.Table) -> None:
        """Set the columns that are not in RUN_KEY."""

    @abstractmethod
    def _remove_proposals(self, rows: pa.Table) -> None:
        """With these keys (RUN_KEY), less those that were accepted or rejected a moment ago."""

    @abstractmethod
    def _remove_vectors_but(self, model: str) -> None:
        """Of every other model."""

    @abstractmethod
    def _set_vectors(self, rows: pa.Table) -> None:
        """Of id, embedding (lists of float32) and what it is of."""

    def _index_vectors(self) -> None:
        """Once all are written; where search is exact there is nothing to do."""

    @abstractmethod
    def _nearest(self, item: str, k: int, width: int) -> pd.DataFrame:
        """As `similar`, of an item with a vector of this width."""


def _with_texts(rows: pa.Table, columns: dict[str, str]) -> pa.Table:
    for name, text in columns.items():
        rows = rows.append_column(name, pa.array([text] * len(rows), pa.string()))
    return rows


def _lists(vectors: np.ndarray) -> pa.Array:
    height, width = vectors.shape
    places = np.arange(height + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(places, pa.int32()), pa.array(vectors.astype(np.float32).reshape(-1)))
