from pathlib import Path

import pandas as pd
import pytest

import graphstore
from graphstore import QueryError, QueryParameterError, ReadOnlyStore
from k3m import query
from tests.catalogues import tiny_catalogue


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("store") / "store.lbdb")
    tables = tiny_catalogue(12)
    with graphstore.open(path, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples)
    return path


def test_values_are_json_or_else_strings() -> None:
    given = ["id=A-1", "year=2019", 'text="2019"', "ids=[1, 2]", "gone=null", "odd=NaN", "empty=", "equation=a=b"]
    assert query.parameters(given) == {
        "id": "A-1",
        "year": 2019,
        "text": "2019",
        "ids": [1, 2],
        "gone": None,
        "odd": "NaN",
        "empty": "",
        "equation": "a=b",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["id"], "takes name=value (got 'id')"),
        (["=1"], "takes name=value (got '=1')"),
        (["a=1", "a=2"], "gives a twice"),
    ],
)
def test_what_is_no_assignment_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 (the message is compared below, in full)
        query.parameters(given)
    assert message in str(refusal.value)


def test_a_table_is_whole_and_counted() -> None:
    rows = pd.DataFrame({"title": ["红色连衣裙", None], "n": [1, 2]})
    assert [line.split() for line in query.table(rows).splitlines()] == [
        ["title", "n"],
        ["红色连衣裙", "1"],
        ["2"],
        ["(2", "rows)"],
    ]
    assert query.table(pd.DataFrame({"id": ["x" * 300]})).splitlines()[1] == "x" * 300


def test_no_rows_still_name_the_columns() -> None:
    assert query.table(pd.DataFrame(columns=["id", "title"])) == "id  title\n(0 rows)"


def test_the_command_prints_the_answer(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    with graphstore.open(location) as store:
        wanted = store.items()["id"].to_pylist()[3]
    query.main([location, "MATCH (i:Item {id: $id}) RETURN i.id AS id", "--param", f"id={wanted}"])
    assert capsys.readouterr().out.split() == ["id", wanted, "(1", "row)"]


def test_parameters_of_another_name_are_refused(location: str) -> None:
    with pytest.raises(QueryParameterError, match="id"):
        query.main([location, "MATCH (i:Item {id: $id}) RETURN i.id AS id", "--param", "ident=1"])


def test_it_only_reads(location: str) -> None:
    with pytest.raises(ReadOnlyStore):
        query.main([location, "MATCH (i:Item) SET i.title = 'gone'"])


def test_a_query_that_does_not_parse_says_where(location: str) -> None:
    with pytest.raises(QueryError, match="MTACH"):
        query.main([location, "MTACH (i) RETURN i"])


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(graphstore.StoreNotFound, match=r"none\.lbdb"):
        query.main([str(tmp_path / "none.lbdb"), "MATCH (i) RETURN i"])
    assert list(tmp_path.iterdir()) == []
