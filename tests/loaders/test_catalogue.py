import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import graphstore
from graphstore.images import MemoryImages
from loaders.catalogue import CatalogueBuilder, CatalogueError, read_cells, read_json
from loaders.quarantine import Quarantine

FILE = Path("shop/items.jsonl")


def _builder(limit: int | None = None) -> CatalogueBuilder:
    return CatalogueBuilder("demo", MemoryImages(), Quarantine(), limit)


def _png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _with_item(id: object = "a", **fields: Any) -> CatalogueBuilder:
    builder = _builder()
    builder.item(FILE, 1, id, fields)
    return builder


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price": "cheap"}, "field price: expected a number, got 'cheap'"),
        ({"price": True}, "field price: expected a number, got True"),
        ({"title": 7}, "field title: expected text, got 7"),
        ({"title": "half \ud83d"}, "field title: expected text, got 'half \\ud83d'"),
        ({"tags": ["new"]}, "field tags: expected text, a number or true/false, got ['new']"),
        ({"stock": 2**63}, "field stock: expected text, a number or true/false, got 9223372036854775808"),
    ],
)
def test_a_field_that_no_column_can_hold(fields: dict[str, Any], reason: str) -> None:
    builder = _with_item("a", title="Lamp", price=3)
    assert not builder.item(FILE, 2, "b", fields)
    assert builder.quarantine.rows == [f"items.jsonl\t2\t{reason}"]
    assert list(builder.items) == ["a"]


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        (None, "expected an item id, got None"),
        ("", "expected an item id, got ''"),
        (True, "expected an item id, got True"),
        (["a"], "expected an item id, got ['a']"),
        ("\udc00", "expected an item id, got half a character in '\\udc00'"),
        ("x" * 8001, f"item id of more than 8000 bytes: {'x' * 40}..."),
    ],
)
def test_an_id_that_is_none(id: object, reason: str) -> None:
    builder = _builder()
    assert not builder.item(FILE, 4, id, {})
    assert builder.quarantine.rows == [f"items.jsonl\t4\t{reason}"]
    assert not builder.items


def test_zero_is_an_id() -> None:
    assert list(_with_item(0).items) == ["0"]


def test_empty_text_and_nan_are_null() -> None:
    builder = _with_item("a", title="", price=float("nan"))
    assert builder.items["a"] == {"title": None, "price": None, "image": None}


def test_an_item_that_comes_twice() -> None:
    builder = _with_item("a", title="Lamp")
    assert builder.item(FILE, 2, "a", {"title": "Lamp"})
    assert not builder.item(FILE, 3, "a", {"title": "Lantern"})
    assert (builder.loaded, builder.repeated) == (1, 1)
    assert builder.quarantine.rows == ["items.jsonl\t3\titem a stands in the catalogue already, with other content"]
    assert builder.items["a"]["title"] == "Lamp"


def test_other_pairs_are_other_content() -> None:
    builder = _builder()
    assert builder.item(FILE, 1, "a", {}, pairs=[("colour", "red")])
    assert not builder.item(FILE, 2, "a", {}, pairs=[("colour", "blue")])
    assert list(builder.triples) == [("a", "colour", "red")]
    assert builder.quarantine.rows == ["items.jsonl\t2\titem a stands in the catalogue already, with other content"]


def test_photographs_that_cannot_be_used() -> None:
    builder = _builder()

    def gone() -> bytes:
        raise FileNotFoundError("no a.jpg")

    assert builder.item(FILE, 1, "a", {}, gone)
    assert builder.item(FILE, 2, "b", {}, lambda: b"GIF89a, or so it says")
    assert builder.item(FILE, 3, "c", {}, lambda: b"text")
    assert builder.item(FILE, 4, "d", {}, _png)
    keys = [row["image"] for row in builder.items.values()]
    assert keys[:3] == [None, None, None]
    assert builder.images.get(keys[3]) == _png()
    assert builder.quarantine.rows[0] == "items.jsonl\t1\titem a went in without its image: FileNotFoundError: no a.jpg"
    assert builder.quarantine.rows[1].startswith("items.jsonl\t2\titem b went in without its image: ")
    assert builder.quarantine.rows[2] == (
        "items.jsonl\t3\titem c went in without its image: it is in no image format that is known"
    )
    assert (builder.loaded, builder.quarantine.partial, builder.quarantine.set_aside) == (4, 3, 0)


def test_a_cut_off_photograph_is_none() -> None:
    builder = _builder()
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    builder.item(FILE, 1, "a", {}, lambda: buffer.getvalue()[:600])
    assert builder.items["a"]["image"] is None
    assert "image file is truncated" in builder.quarantine.rows[0]


@pytest.mark.parametrize(
    ("triple", "split", "reason"),
    [
        (("b", "colour", "red"), None, "item b is not in the catalogue"),
        (("a", "", "red"), None, "expected item, property and value, got 'a', '', 'red'"),
        (("a", "colour", ""), None, "expected item, property and value, got 'a', 'colour', ''"),
        (("a", "colour", "red"), "test", "<a, colour, red> stands in split training already, here in test"),
        (("a", "x" * 8001, "red"), None, f"property of more than 8000 bytes: {'x' * 40}..."),
    ],
)
def test_a_triple_that_is_set_aside(triple: tuple[str, str, str], split: str | None, reason: str) -> None:
    builder = _with_item("a")
    builder.triple(FILE, 2, "a", "colour", "red")
    assert not builder.triple(FILE, 3, *triple, split)
    assert builder.quarantine.rows == [f"items.jsonl\t3\t{reason}"]
    assert builder.triples == {("a", "colour", "red"): None}


def test_a_triple_of_test_does_not_come_back_as_training() -> None:
    builder = _with_item("a")
    builder.triple(FILE, 2, "a", "colour", "red", "test")
    assert not builder.triple(FILE, 3, "a", "colour", "red")
    assert builder.triples == {("a", "colour", "red"): "test"}
    assert builder.quarantine.rows == [
        "items.jsonl\t3\t<a, colour, red> stands in split test already, here in training"
    ]


def test_groups_of_items_and_properties() -> None:
    builder = _with_item("a", group=None)
    assert builder.style(FILE, 2, "a", "g1")
    assert not builder.style(FILE, 3, "a", "g2")
    assert not builder.style(FILE, 4, "b", "g1")
    assert not builder.style(FILE, 5, "a", "")
    assert builder.property_group(FILE, 6, "colour", "picture")
    assert not builder.property_group(FILE, 7, "colour", "title")
    assert not builder.property_group(FILE, 8, "", "title")
    assert [row.split("\t", 1)[1] for row in builder.quarantine.rows] == [
        "3\tthe group of item a stands in the catalogue already, with other content",
        "4\titem b is not in the catalogue",
        "5\texpected item and group, got 'a', ''",
        "7\tthe group of property colour stands in the catalogue already, with other content",
        "8\texpected property and group, got '', 'title'",
    ]
    builder.read = 8
    catalogue = builder.catalogue(brings_splits=False)
    assert catalogue.items["group"].tolist() == ["g1"]
    assert catalogue.properties.to_dict("records") == [{"name": "colour", "group": "picture"}]


def test_rows_over_the_limit_are_not_judged_and_their_photographs_not_read() -> None:
    builder = _builder(limit=1)
    opened: list[str] = []

    def photograph() -> bytes:
        opened.append("b")
        return _png()

    builder.item(FILE, 1, "a", {})
    assert not builder.item(FILE, 2, "b", {"tags": []}, photograph)
    assert builder.item(FILE, 3, "a", {})
    assert not builder.triple(FILE, 4, "b", "colour", "red")
    assert not builder.triple(FILE, 5, "c", "colour", "red")
    assert not opened
    assert builder.quarantine.rows == ["items.jsonl\t5\titem c is not in the catalogue"]
    assert (builder.loaded, builder.repeated, builder.over_limit) == (1, 1, 2)


def test_rows_that_do_not_add_up_are_our_mistake() -> None:
    builder = _with_item("a")
    builder.read = 2  # one row more than came to anything
    with pytest.raises(AssertionError, match="read=2, loaded=1, repeated=0, set_aside=0, over_limit=0"):
        builder.catalogue(brings_splits=False)


def test_no_item_at_all_is_refused() -> None:
    builder = _builder()
    builder.item(FILE, 1, "", {})
    with pytest.raises(CatalogueError, match="no item could be read as demo: 1 rows were set aside"):
        builder.catalogue(brings_splits=False)


def test_a_field_that_only_some_items_have_is_null_for_the_others() -> None:
    builder = _builder()
    builder.item(FILE, 1, "a", {"price": 2**60 + 1, "new": True})
    builder.item(FILE, 2, "b", {"title": "Lamp"})
    builder.read = 2
    catalogue = builder.catalogue(brings_splits=False)
    store = graphstore.from_tables(catalogue.items, catalogue.triples)
    assert store.items(("title", "price", "new")).to_pylist() == [
        {"id": "a", "title": None, "price": 2**60 + 1, "new": True},  # exact: never a float in between
        {"id": "b", "title": "Lamp", "price": None, "new": None},
    ]


def test_lines_that_cannot_be_taken_apart(tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_bytes(b"a\tb\r\n\nc\td\te\n" + b"\xff\tf\n" + "g\t围巾".encode())
    builder = _builder()
    assert list(read_cells(file, builder, ("id", "group"))) == [(1, ["a", "b"]), (5, ["g", "围巾"])]
    assert builder.quarantine.rows == [
        "rows.tsv\t2\texpected 2 columns (id, group), got 1",
        "rows.tsv\t3\texpected 2 columns (id, group), got 3",
        "rows.tsv\t4\texpected UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ]
    assert builder.read == 5


def test_lines_that_are_no_json_object(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "a"}\n{"id": \n["b"]\n', encoding="utf-8")
    builder = _builder()
    assert list(read_json(file, builder)) == [(1, {"id": "a"})]
    assert builder.quarantine.rows == [
        "items.jsonl\t2\texpected one JSON object a line: Expecting value: line 1 column 8 (char 7)",
        'items.jsonl\t3\texpected one JSON object a line, got ["b"]',
    ]
