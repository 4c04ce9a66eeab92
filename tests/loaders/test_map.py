import io
import json
import re
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import graphstore
from graphstore.images import MemoryImages
from loaders import fashion, ingest, table
from loaders import map as mapper
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine

COLOURS, TAGS = ("red", "blue", "Navy Blue"), ("new", "sale", "eco")
NUM_ITEMS = 30


def _rows() -> list[dict[str, Any]]:
    """Items with a column of every kind."""
    return [
        {
            "blurb": f"A long text about item {n}, with commas, and of no use to anybody who looks for few values",
            "SKU": f"A-{n}",
            "Product name": f"Fine shirt number {n}",
            "articleType": ("shirts", "hats")[n % 2],
            "Colour": COLOURS[n % 3] if n % 5 else "",
            "tags": "|".join(TAGS[: 1 + n % 3]),
            "size": 36 + n % 2,
            "price": n + 0.5,
            "photo": f"{n}.png",
            "sizes": json.dumps(["S", "M"][: 1 + n % 2]),
            "url": f"https://shop/{n}",
            "nothing": "",
        }
        for n in range(NUM_ITEMS)
    ]


def _photographs(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for n in range(NUM_ITEMS):
        buffer = io.BytesIO()
        Image.new("RGB", (2, 2), (n, 0, 0)).save(buffer, "PNG")
        (folder / "pictures" / f"{n}.png").write_bytes(buffer.getvalue())


def _printed(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, dict[str, Any]]:
    assert mapper.main([str(file), *words]) == 0
    text = capsys.readouterr().out
    return text, tomllib.loads(text)


@pytest.mark.parametrize("name", ["shop.csv", "shop.tsv", "shop.csv.gz", "shop.parquet", "shop.jsonl", "excel.csv"])
def test_a_proposal_for_a_wide_file_works_as_it_stands(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, frame = tmp_path / name, pd.DataFrame(_rows())
    _photographs(tmp_path)
    if name.endswith(".parquet"):
        frame.to_parquet(file)
    elif name.endswith(".jsonl"):
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_csv(file, index=False, sep={"shop.tsv": "\t", "excel.csv": ";"}.get(name, ","))
    text, mapping = _printed(file, capsys)
    assert mapping.get("separator") == (";" if name == "excel.csv" else None)
    assert mapping["items"] == {
        "id": "SKU",
        "title": "Product name",
        "category": "articleType",
        "image": "photo",
        "images": ["pictures"],
        "fields": {"blurb": "blurb", "url": "url"},
        "numbers": {"price": "price"},
        "properties": {name: name for name in ("Colour", "tags", "size", "sizes")},
    }
    assert mapping["several"] == {"tags": "|", "sizes": "json"}
    assert "# nothing       left out: it is empty" in text
    (tmp_path / "map.toml").write_text(text)
    location = str(tmp_path / "store.lbdb")
    ingest.main(["table", str(file), "--mapping", str(tmp_path / "map.toml"), "--store", location])
    assert not (tmp_path / "quarantine.tsv").exists()
    with graphstore.open(location) as store:
        counts = store.counts()
        # a colour for 24, of tags 10 times 1 + 2 + 3, a size each, and of sizes 15 times 1 + 2
        assert (counts.items, counts.images, counts.titles, counts.triples) == (30, 30, 30, 24 + 60 + 30 + 45)
        prices = dict(zip(*store.items(("price",)).to_pydict().values(), strict=True))
        assert prices == {f"A-{n}": n + 0.5 for n in range(NUM_ITEMS)}


def test_a_proposal_for_a_long_file_works_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = [
        (row["SKU"], row["Product name"], row["articleType"], property, row[column])
        for row in _rows()
        for property, column in (("colour", "Colour"), ("tag", "tags"), ("size", "size"))
        if row[column]
    ]
    frame = pd.DataFrame(facts, columns=["product", "name", "category", "attribute", "value"])
    frame.to_csv(tmp_path / "facts.csv", index=False)
    text, mapping = _printed(tmp_path / "facts.csv", capsys)
    assert mapping == {
        "items": {"id": "product", "title": "name", "category": "category"},
        "triples": {"item": "product", "property": "attribute", "value": "value"},
        "several": {"tag": "|"},
    }
    (tmp_path / "map.toml").write_text(text)
    location = str(tmp_path / "store.lbdb")
    ingest.main(["table", str(tmp_path / "facts.csv"), "--mapping", str(tmp_path / "map.toml"), "--store", location])
    with graphstore.open(location) as store:
        counts = store.counts()
        assert (counts.items, counts.titles, counts.triples) == (30, 30, 24 + 60 + 30)


def test_a_long_file_without_names_that_say_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = [(f"i{n}", "uv"[n % 2], p, f"{p}{n % 3}") for n in range(20) for p in ("x", "y", "z")]
    pd.DataFrame(facts, columns=["a", "b", "c", "d"]).to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    _, mapping = _printed(tmp_path / "t.tsv", capsys)
    assert mapping["triples"] == {"item": "a", "property": "c", "value": "d"}
    assert mapping["items"] == {"id": "a", "properties": {"b": "b"}}  # an item has but one


def test_a_file_without_a_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = [(f"i{n}", p, f"{p}{n % 3}") for n in range(20) for p in ("x", "y", "z")]
    pd.DataFrame(facts).to_csv(tmp_path / "t.tsv", index=False, header=False, sep="\t")
    text, mapping = _printed(tmp_path / "t.tsv", capsys)
    assert mapping["columns"] == ["column_1", "column_2", "column_3"]
    assert mapping["triples"] == {"item": "column_1", "property": "column_2", "value": "column_3"}
    (tmp_path / "map.toml").write_text(text)
    location = str(tmp_path / "store.lbdb")
    ingest.main(["table", str(tmp_path / "t.tsv"), "--mapping", str(tmp_path / "map.toml"), "--store", location])
    with graphstore.open(location) as store:
        assert (store.num_items, store.num_training_triples) == (20, 60)


def test_numbers_are_values_where_they_are_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame(
        {"id": range(1000), "size": [n % 50 for n in range(1000)], "price": [n % 51 for n in range(1000)]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert mapping["items"] == {"id": "id", "numbers": {"price": "price"}, "properties": {"size": "size"}}


def test_decimal_commas_are_no_lists_and_marks_of_nothing_no_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a name that comes again, with commas, is the title all the same, not the description."""
    rows = [
        {
            "SKU": f"S{n}",
            "Product Name": f"Lumo lamp, {('glass', 'wood')[n % 2]}",
            "Price": f"{n % 9 + 1},{n % 4}5",
            "Colour": ("n/a", "-", "red", "blue")[n % 4],
            "Weight": "-" if n % 3 else str(100 + n),
            "Description": f"A long text about the lamp of number {n}, and of no use",
        }
        for n in range(60)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "shop.csv", index=False, sep=";")
    _, mapping = _printed(tmp_path / "shop.csv", capsys)
    assert mapping["empty"] == ["-", "n/a"]
    assert mapping["items"]["title"] == "Product Name"
    assert "several" not in mapping
    assert mapping["items"]["properties"] == {"Colour": "Colour"}
    assert mapping["items"]["numbers"] == {"Weight": "Weight"}
    (tmp_path / "map.toml").write_text(tomli_w.dumps(mapping))
    location = str(tmp_path / "store.lbdb")
    ingest.main(["table", str(tmp_path / "shop.csv"), "--mapping", str(tmp_path / "map.toml"), "--store", location])
    with graphstore.open(location) as store:
        assert store.counts().triples == 30
        assert store.items(("Price",)).to_pydict()["Price"][0] == "1,05"


def test_a_long_text_is_a_field_however_often_it_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"id": range(30), "care": [f"{n % 3}: {'wash it by hand ' * 5}" for n in range(30)]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert mapping["items"] == {"id": "id", "fields": {"care": "care"}}


def test_items_that_come_once_but_for_a_slip_are_no_facts(tmp_path: Path) -> None:
    rows = [(f"i{max(n, 1)}", "xy"[n % 2], f"v{n - (n == 2)}") for n in range(10)]
    pd.DataFrame(rows, columns=["sku", "property", "value"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(CatalogueError, match="no column tells the rows apart"):
        mapper.main([str(tmp_path / "t.csv")])


def test_quotes_that_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f'{n}\t"{n} inch\tblack\n' for n in range(20))
    (tmp_path / "t.tsv").write_text("id\twidth\tcolour\n" + rows)
    text, mapping = _printed(tmp_path / "t.tsv", capsys)
    assert mapping["quoted"] is False
    assert text.startswith("# Proposed for t.tsv by its first 20 rows\n")


def test_images_in_an_archive_and_beside_the_file_or_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame(_rows()).to_csv(tmp_path / "t.csv", index=False)
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert "image" not in mapping["items"]
    assert mapping["items"]["fields"]["photo"] == "photo"
    _photographs(tmp_path)
    with ZipFile(tmp_path / "a.zip", "w") as one, ZipFile(tmp_path / "b.zip", "w") as other:
        for file in (tmp_path / "pictures").iterdir():
            (one if int(file.stem) % 2 else other).write(file, file.name)
            file.unlink()
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert mapping["items"]["images"] == ["a.zip", "b.zip"]
    for n in range(NUM_ITEMS):
        (tmp_path / f"{n}.png").write_bytes(b"")
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert mapping["items"]["image"] == "photo"
    assert "images" not in mapping["items"]


def test_names_of_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {name: [f"{name}{n}" for n in range(9)] for name in ("id", "Preis (EUR)", "preis eur", "描述", "Ord", "9")}
    pd.DataFrame(texts).to_csv(tmp_path / "t.csv", index=False)
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    items = mapping["items"]
    assert items["title"] == "preis eur"  # the shortest text that is long enough
    assert items["fields"] == {"Preis_EUR": "Preis (EUR)", "field": "描述", "Ord_2": "Ord"}
    assert items["numbers"] == {"field_9": "9"}


def test_neither_an_index_of_pandas_nor_fractions_are_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"score": [n / 7 for n in range(9)], "code": [f"c{n}" for n in range(9)]})
    frame.to_csv(tmp_path / "t.csv")
    _, mapping = _printed(tmp_path / "t.csv", capsys)
    assert mapping["items"] == {"id": "code", "numbers": {"score": "score"}}


def test_the_rows_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("id,a\n1,x\nbroken\n2,x\n3,y\n")
    text, _ = _printed(tmp_path / "t.csv", capsys, "--rows", "2")
    assert text.startswith("# Proposed for t.csv by its first 2 rows; 1 cannot be read\n")
    with pytest.raises(ValueError, match=r"--rows must be at least 1 \(got 0\)"):
        mapper.main([str(tmp_path / "t.csv"), "--rows", "0"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,a\n", "t.csv holds no row that can be read"),
        ("id,a,a\n1,x,y\n", "t.csv has the column a more than once"),
        ("a,b\n1,x\n1,x\n2,x\n", "t.csv: no column tells the rows apart, nor do three as item, property and value"),
    ],
)
def test_files_that_say_nothing(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(CatalogueError, match=message):
        mapper.main([str(tmp_path / "t.csv")])
    with pytest.raises(CatalogueError, match=r"nowhere.csv is missing"):
        mapper.main([str(tmp_path / "nowhere.csv")])


CELLS = st.sampled_from(
    ["red", "a b", "x|y", "1", "2.5", "", "[1]", '["a"]', "a.png", "围巾", "\n", "1e999", '"q', "1,5"]
)
COLUMNS = st.sampled_from(
    ["id", "sku", "title", "category", "property", "value", "价格", "Title", "Ord", "1", "a b", ""]
)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=st.integers(1, 12), ending=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "csv.gz"]))
def test_whatever_a_table_holds_a_proposal_for_it_can_be_read(
    data: st.DataObject, rows: int, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("map") / f"t.{ending}"
    kinds = [
        CELLS,
        st.text(),
        st.none() | st.integers(-9, 9),
        st.floats(0, 1),
        st.sampled_from("sml"),
        st.integers().map(lambda n: f"c{n}"),
    ]
    names = data.draw(st.lists(COLUMNS, min_size=1, max_size=6, unique=True))
    columns = {
        name: data.draw(st.sampled_from(kinds).flatmap(lambda kind: st.lists(kind, min_size=rows, max_size=rows)))
        for name in names
    }
    frame = pd.DataFrame(columns)
    if ending == "parquet":
        frame.to_parquet(file)
    elif ending == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_csv(file, index=data.draw(st.booleans()), sep="\t" if ending == "tsv" else ",")
    try:
        mapping = table.mapping_of(tomllib.loads(mapper.propose(file, 100)))
    except CatalogueError as error:
        if re.search("tells the rows apart|holds no row|more than once|no header", str(error)):
            return  # told in so many words
        raise
    catalogue = table.read(file, CatalogueBuilder("table", MemoryImages(), Quarantine()), mapping)
    assert graphstore.from_tables(catalogue.items, catalogue.triples).num_items > 0


@pytest.mark.data
def test_the_fashion_catalogue_read_by_its_proposal_is_the_one_that_its_own_source_reads(real_data: Path) -> None:
    def read(reader: Callable[[Path, CatalogueBuilder], Catalogue], path: Path) -> Catalogue:
        return reader(path, CatalogueBuilder("fashion", MemoryImages(), Quarantine(), limit=500))

    folder = real_data / "fashion"
    proposed = table.mapping_of(tomllib.loads(mapper.propose(folder / "items.jsonl.gz", 50_000)))
    ours = read(partial(table.read, mapping=proposed), folder / "items.jsonl.gz").items
    theirs = read(fashion.read, folder).items
    shared = ["id", "title", "category", "description", "price", "image"]
    said = theirs["description"].where(~theirs["description"].isin(proposed.empty), None)  # some are "-"
    pd.testing.assert_frame_equal(ours[shared], theirs[shared].assign(description=said))
    assert ours["image"].notna().sum() > 400
