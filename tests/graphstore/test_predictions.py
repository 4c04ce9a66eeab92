"""Tables of completions and proposals, as they are checked and matched."""

import pandas as pd
import pyarrow as pa
import pytest

from graphstore import SchemaError
from graphstore.predictions import SCHEMA, completion_table, found_proposals, proposal_table


def test_completions_are_sorted_typed_and_of_their_own_columns() -> None:
    given = pd.DataFrame(
        {"item": ["b", "a"], "property": ["p", "p"], "value": ["v", "w"], "rank": [2.0, 1.0], "score": [0.1, 0.2]}
    )
    table = completion_table(given)
    assert table.schema.names == ["item", "property", "value", "rank", "confidence"]
    assert table.to_pylist() == [
        {"item": "a", "property": "p", "value": "w", "rank": 1, "confidence": None},
        {"item": "b", "property": "p", "value": "v", "rank": 2, "confidence": None},
    ]
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "string", "int64", "double"]


def test_the_row_that_is_wrong_is_named() -> None:
    given = pd.DataFrame({"item": ["a", "b"], "property": "p", "value": "v", "rank": 1, "confidence": [0.5, 1.5]})
    with pytest.raises(SchemaError, match=r"completions: row 1 has a confidence that is not 0 to 1: \{'item': 'b'"):
        completion_table(given)


def test_proposals_have_a_run_or_null() -> None:
    given = pd.DataFrame({"item": ["a"], "property": ["p"], "value": ["v"]})
    assert proposal_table(given).to_pylist() == [{"item": "a", "property": "p", "value": "v", "run": None}]
    with pytest.raises(SchemaError, match=r"proposals: column run must hold strings \(got int64\)"):
        proposal_table(given.assign(run=1))


def test_proposals_are_found_by_run_or_in_all_runs() -> None:
    columns = ["item", "property", "value", "run", "rank", "confidence", "model", "status"]
    there = [("a", "p", "v", run, 1, None, "m", "proposed") for run in ("one", "two")]
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in there], SCHEMA)
    asked = [("a", "p", "v", None), ("a", "p", "v", "two"), ("a", "p", "v", "three"), ("a", "q", "v", None)]
    wanted = proposal_table(pd.DataFrame(asked, columns=columns[:4]))
    found, missing = found_proposals(wanted, table)
    assert found["run"].tolist() == ["one", "two"]
    assert missing["row"].tolist() == [2, 3]
