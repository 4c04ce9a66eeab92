"""Tables of completions as a store takes them, checked: what becomes PREDICTED, and what a person says of it.

An accepted completion becomes a triple on request. Its source says so from then on: it is for training, and no ingest
keeps it back or takes it away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from graphstore import tables
from graphstore.errors import SchemaError
from graphstore.tables import KEY, Table

Verdict = Literal["accepted", "rejected"]
PROPOSED = "proposed"
COMPLETED = "k3m:"
"""Begins the source of a triple that was a completion; the name of its run follows."""
RUN_KEY = (*KEY, "run")
"""One relationship each."""
PROPOSED_COLUMNS = ("rank", "confidence", "model")
"""What a run says of a completion, beside its key."""
PREDICTED_COLUMNS = ("property", "confidence", "rank", "run", "model", "created", "status")
"""What a relationship holds; its ends are item and value."""
SCHEMA = pa.schema(
    [(name, pa.string()) for name in RUN_KEY]
    + [("rank", pa.int64()), ("confidence", pa.float64()), ("model", pa.string()), ("status", pa.string())]
)
"""Completions as they are read."""


@dataclass(frozen=True)
class PredictionReport:
    """Completions of one run, by what became of them."""

    new: int
    changed: int
    unchanged: int
    removed: int
    kept: int
    """Not proposed any more, but accepted or rejected."""


@dataclass(frozen=True)
class AppliedReport:
    """Reviewed completions, by what became of them as triples; and the data version after it."""

    added: int
    there: int
    """Accepted, and triples already, which stay as they are."""
    removed: int
    """Rejected by now, and taken out again: they had been accepted and applied before."""
    contradicted: int
    """Accepted in one run and rejected in another: left as they are."""
    data_version: int


def completion_table(completions: Table) -> pa.Table:
    """item, property, value, rank and confidence (null where it is not given), sorted by the first three.

    Raises:
        SchemaError: a missing column, an empty cell, a rank below 1, a confidence outside of 0 to 1, or one completion
            twice.
    """
    table = _keyed("completions", completions, (*KEY, "rank"))
    if "confidence" not in table.column_names:
        table = table.append_column("confidence", pa.nulls(len(table), pa.float64()))
    table = table.select([*KEY, "rank", "confidence"])
    for name, kind in (("rank", pa.int64()), ("confidence", pa.float64())):
        table = table.set_column(table.column_names.index(name), name, _number(table, name, kind))
    tables.refuse_rows("completions", table, "a rank below 1", pc.fill_null(pc.less(table["rank"], 1), True))
    confidence = table["confidence"]
    outside = pc.fill_null(pc.or_(pc.less(confidence, 0), pc.greater(confidence, 1)), False)
    tables.refuse_rows("completions", table, "a confidence that is not 0 to 1", outside)
    tables.require_distinct("completions", table, KEY)
    return tables.sorted_triples(table)


def proposal_table(proposals: Table) -> pa.Table:
    """item, property, value and run, null for any.

    Raises:
        SchemaError: a missing column or an empty cell.
    """
    table = tables.with_columns(_keyed("proposals", proposals, KEY), ["run"]).select(list(RUN_KEY))
    if not pa.types.is_string(table.schema.field("run").type):
        raise SchemaError(f"proposals: column run must hold strings (got {table.schema.field('run').type})")
    return table


def _keyed(name: str, given: Table, columns: Sequence[str]) -> pa.Table:
    table = tables.as_arrow(name, given)
    tables.require_columns(name, table, columns)
    for column in KEY:
        tables.require_text(name, table, column)
    return table


def _number(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return table[name].cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"completions: column {name} must hold numbers ({kind}): {error}") from error


def found_proposals(asked: pa.Table, there: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `there` (SCHEMA) that `asked` (as `proposal_table` has them) is about; and the rows asked for that
    are not there."""
    wanted = asked.to_pandas().reset_index(names="row")
    pairs = wanted.merge(there.to_pandas(), on=list(KEY), suffixes=("_asked", ""))
    pairs = pairs[pairs["run_asked"].isna() | (pairs["run_asked"] == pairs["run"])]
    return pairs.drop_duplicates(list(RUN_KEY)), wanted[~wanted["row"].isin(pairs["row"])]


@dataclass(frozen=True)
class Settled:
    """What reviews say of triples, whichever run proposed them."""

    accepted: pa.Table
    """item, property, value and source: the first run, by name, in which it was accepted."""
    rejected: pa.Table
    """item, property, value."""
    contradicted: int
    """Triples that were accepted in one run and rejected in another, which are neither."""

    @classmethod
    def of(cls, reviewed: pa.Table) -> "Settled":
        """Of completions (SCHEMA) that were accepted or rejected."""
        rows = reviewed.to_pandas().sort_values(list(RUN_KEY))
        verdicts = rows.groupby(list(KEY))["status"].transform("nunique")
        contradicted = rows[verdicts > 1].drop_duplicates(list(KEY))
        clear = rows[verdicts == 1].drop_duplicates(list(KEY))
        clear = clear.assign(source=COMPLETED + clear["run"].astype(str))
        accepted = clear.loc[clear["status"] == "accepted", [*KEY, "source"]]
        rejected = clear.loc[clear["status"] == "rejected", list(KEY)]
        return cls(_texts(accepted), _texts(rejected), len(contradicted))


def _texts(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, pa.schema([(name, pa.string()) for name in rows]), preserve_index=False)


def completed(triples: pa.Table) -> pa.Table:
    """item, property and value of the triples that were completions."""
    was = pc.fill_null(pc.starts_with(triples["source"], COMPLETED), False)
    return triples.filter(was).select(list(KEY))
