import gzip
from pathlib import Path

import pandas as pd
import pytest

from graphstore.images import MemoryImages
from loaders.catalogue import CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine
from loaders.rows import Layout, Row, read_rows, table_files


def _read(file: Path, columns: tuple[str, ...] = ("a",), layout: Layout | None = None) -> tuple[list[Row], list[str]]:
    builder = CatalogueBuilder("table", MemoryImages(), Quarantine())
    rows = list(read_rows(file, builder, columns, layout or Layout()))
    assert builder.read == len(rows) + len(builder.quarantine.rows)
    return rows, builder.quarantine.rows


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV"])
def test_a_row_has_the_number_of_the_line_it_begins_on(name: str, tmp_path: Path) -> None:
    file = _write(tmp_path, name, 'a,b\n1,"two\nlines, quoted ""so"""\n2,x\n3,"\n\n"\n4,y\n')
    rows, refused = _read(file)
    assert rows == [
        (2, {"a": "1", "b": 'two\nlines, quoted "so"'}),
        (4, {"a": "2", "b": "x"}),
        (5, {"a": "3", "b": "\n\n"}),
        (8, {"a": "4", "b": "y"}),
    ]
    assert refused == []


def test_rows_that_cannot_be_taken_apart(tmp_path: Path) -> None:
    content = b'a,b\n1\n2,x,y\n\n3,"x"y\n4,\xff\n5,"two\n\xfe"\n6,x\ry\n7,z\r\n8,"never closed\n9,lost with it\n'
    rows, refused = _read(_write(tmp_path, "t.csv", content))
    assert rows == [(10, {"a": "7", "b": "z"})]
    assert [row.split("\t", 1)[1] for row in refused] == [
        "2\texpected 2 columns, got 1",
        "3\texpected 2 columns, got 3",
        "4\texpected 2 columns, got 0",
        "5\texpected 2 columns: ',' expected after '\"'",
        "6\texpected UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "7\texpected UTF-8: 'utf-8' codec can't decode byte 0xfe in position 4: invalid start byte",
        "9\texpected 2 columns: new-line character seen in unquoted field - do you need to open the file in "
        "universal-newline mode?",
        "11\texpected 2 columns (up to line 12): unexpected end of data",
    ]


def test_a_cell_without_end_spoils_no_more_than_itself(tmp_path: Path) -> None:
    lines = "".join(f"{number},{'x' * 100}\n" for number in range(3000))
    rows, refused = _read(_write(tmp_path, "t.csv", 'a,b\n0,"open\n' + lines))
    assert refused[0].startswith("t.csv\t2\texpected 2 columns (up to line 12")
    assert refused[0].endswith(": field larger than field limit (131072)")
    assert len(refused) == 1
    assert len(rows) > 1000


def test_tabs_quotes_and_other_separators(tmp_path: Path) -> None:
    file = _write(tmp_path, "t.tsv", '\ufeffa\tb\n1\t"x\ty"\n')
    assert _read(file)[0] == [(2, {"a": "1", "b": "x\ty"})]
    file = _write(tmp_path, "inches.tsv", 'a\tb\n1\t"19\n2\t12" shelf\n')
    assert _read(file, layout=Layout(quoted=False))[0] == [
        (2, {"a": "1", "b": '"19'}),
        (3, {"a": "2", "b": '12" shelf'}),
    ]
    file = _write(tmp_path, "bare.csv", "\ufeff1,x\n2,y\n")
    rows, _ = _read(file, layout=Layout(columns=("a", "b")))
    assert rows == [(1, {"a": "1", "b": "x"}), (2, {"a": "2", "b": "y"})]
    file = _write(tmp_path, "excel.csv", "a;b\n1;2,5\n")
    assert _read(file, layout=Layout(separator=";"))[0] == [(2, {"a": "1", "b": "2,5"})]


def test_json_lines(tmp_path: Path) -> None:
    file = _write(tmp_path, "t.jsonl.gz", '{"a": 1, "b": ["x", null]}\n{"a": \n{"c": true}\n')
    rows, refused = _read(file, ("a", "c"))
    assert rows == [(1, {"a": 1, "b": ["x", None]}), (3, {"c": True})]
    assert refused == ["t.jsonl.gz\t2\texpected one JSON object a line: Expecting value: line 1 column 7 (char 6)"]


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [["x", "y"], None], "c": [2.5, float("nan")]})
    frame.to_parquet(tmp_path / "t.parquet")
    rows, refused = _read(tmp_path / "t.parquet", ("a", "b"))
    assert [(number, row["a"], row["b"]) for number, row in rows] == [(1, 1, ["x", "y"]), (2, 2, None)]
    assert refused == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "a,b\n1,2\n"), ("t.jsonl", '{"a": 1}\n{"b": 2}\n')],
)
def test_a_column_that_is_not_there(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=rf"{name} has no column 'colour', 'Fit' \(columns: a, b\)"):
        _read(_write(tmp_path, name, content), ("a", "colour", "Fit"))


def test_a_parquet_file_without_the_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1], "b": [2]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(CatalogueError, match=r"t.parquet has no column 'colour' \(columns: a, b\)"):
        _read(tmp_path / "t.parquet", ("colour",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t.csv has no column 'a' \(columns: \)"),
        ("t.csv", "a,b,a\n1,2,3\n", "t.csv has the column a more than once"),
        ("t.csv", 'a,"b\n', "t.csv: no header that can be read: unexpected end of data"),
        ("t.parquet", "no such thing", "t.parquet cannot be read as Parquet"),
        ("t.xlsx", "", r"t.xlsx: expected a name that ends in .csv, .tsv, .jsonl, .ndjson, .parquet \(and .gz\)"),
    ],
)
def test_files_that_are_no_tables(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=message):
        _read(_write(tmp_path, name, content))


def test_a_column_that_is_not_asked_for_may_come_twice(tmp_path: Path) -> None:
    assert len(_read(_write(tmp_path, "t.csv", "a,,\n1,2,3\n"))[0]) == 1


def test_the_tables_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.csv", "a.tsv.gz", "c.parquet", "read.me", "d.jsonl"):
        _write(tmp_path, name, "")
    assert [file.name for file in table_files(tmp_path)] == ["a.tsv.gz", "b.csv", "c.parquet", "d.jsonl"]
    assert table_files(tmp_path / "read.me") == [tmp_path / "read.me"]
    with pytest.raises(CatalogueError, match="nowhere is missing"):
        table_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match=r"empty holds no file that ends in \.csv"):
        table_files(tmp_path / "empty")
