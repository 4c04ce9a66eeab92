"""Every query of docs/cypher.md gives the same rows from both databases."""

import re
from pathlib import Path

import pandas as pd
import pytest

from graphstore.store import parameter_names
from tests.catalogues import tiny_catalogue
from tests.stores import ingested

TEXT = (Path(__file__).parents[2] / "docs" / "cypher.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```cypher\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
VALUES = {"id": "item-7", "property": "fabric", "category": "scarf"}


def rows(frame: pd.DataFrame, ordered: bool) -> list[list[object]]:
    found = frame.astype(object).where(frame.notna(), None).values.tolist()
    return found if ordered else sorted(found, key=repr)


@pytest.mark.neo4j
def test_the_documented_queries_give_the_same_rows(
    neo4j_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(QUERIES) > 10
    tables = tiny_catalogue()
    with ingested(neo4j_url, tables) as reference, ingested(tmp_path / "store.lbdb", tables) as store:
        for query in QUERIES:
            values = {name: VALUES[name] for name in parameter_names(query)}
            expected, found = reference.query(query, **values), store.query(query, **values)
            assert list(found.columns) == list(expected.columns), query
            assert found.dtypes.tolist() == expected.dtypes.tolist(), query
            ordered = "ORDER BY" in query
            assert rows(found, ordered) == rows(expected, ordered), query
            assert len(expected) > 0, query
