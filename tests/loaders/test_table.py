import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import graphstore
from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import ingest, settings, table
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine

WIDE = """\
[items]
id = "sku"
title = "name"
category = "type"
fields = {text = "Description"}
numbers = {price = "Price (EUR)"}
[items.properties]
colour = "Colour"
tag = ["tag 1", "tag 2"]
"""
LONG = """\
[items]
files = "items.jsonl"
id = "id"
title = "name"
[triples]
files = "facts-*.tsv"
item = "item"
property = "attribute"
value = "value"
[several]
size = ","
"""


def _read(path: Path, mapping: str) -> tuple[Catalogue, CatalogueBuilder]:
    (path.parent / "mapping.toml").write_text(mapping, encoding="utf-8")
    builder = CatalogueBuilder("table", MemoryImages(), Quarantine())
    return table.read(path, builder, settings.load(path.parent / "mapping.toml", table.mapping_of)), builder


def _triples(catalogue: Catalogue) -> list[tuple[str, str, str]]:
    return list(catalogue.triples[["item", "property", "value"]].itertuples(index=False, name=None))


def _picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_wide_columns(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(
        "sku,name,type,Description,Price (EUR),Colour,tag 1,tag 2,unused\n"
        '1,Lamp,lamps,"bright,\nwarm",12,red,new,sale,x\n'
        "2,Shade,, ,12.50,,new,new,x\n"
        "3,Bulb,lamps,,cheap,red,,,x\n"
        "1,Lantern,lamps,,12,red,new,sale,x\n"
        ",No id,lamps,,1,red,,,x\n"
        "2,Shade,, ,12.50,,new,new,x\n"
    )
    catalogue, builder = _read(file, WIDE)
    assert catalogue.items.to_dict("records") == [
        {"id": "1", "title": "Lamp", "category": "lamps", "text": "bright,\nwarm", "price": 12, "image": None},
        {"id": "2", "title": "Shade", "category": None, "text": None, "price": 12.5, "image": None},
    ]
    assert _triples(catalogue) == [
        ("1", "colour", "red"),
        ("1", "tag", "new"),
        ("1", "tag", "sale"),
        ("2", "tag", "new"),
    ]
    assert builder.quarantine.rows == [
        "shop.csv\t5\tfield price: expected a number, got 'cheap'",
        "shop.csv\t6\titem 1 stands in the catalogue already, with other content",
        "shop.csv\t7\texpected an item id, got None",
    ]
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.repeated, counts.set_aside, counts.repeated_pairs) == (6, 2, 1, 3, 1)
    assert not catalogue.brings_splits


def test_long_triples_in_other_files_than_the_items(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"id": 7, "name": "Shirt"}\n{"id": 8, "name": "Hat"}\n')
    (tmp_path / "facts-a.tsv").write_text("item\tattribute\tvalue\n7\tsize\tS, M,S\n7\tcolour\tred, blue\n")
    (tmp_path / "facts-b.tsv").write_text(
        "value\titem\tattribute\nM\t7\tsize\n,\t8\tsize\nL\t9\tsize\nL\t8\t\nred, blue\t7\tcolour\n"
    )
    catalogue, builder = _read(tmp_path, LONG)
    assert catalogue.items["title"].tolist() == ["Shirt", "Hat"]
    assert _triples(catalogue) == [("7", "size", "S"), ("7", "size", "M"), ("7", "colour", "red, blue")]
    assert builder.quarantine.rows == [
        "facts-b.tsv\t3\texpected item, property and value, got '8', 'size', ''",
        "facts-b.tsv\t4\titem 9 is not in the catalogue",
        "facts-b.tsv\t5\texpected item, property and value, got '8', '', 'L'",
    ]
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.repeated, counts.set_aside, counts.repeated_pairs) == (9, 4, 2, 3, 1)


def test_items_and_triples_in_one_long_file(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("item,name,p,v\n1,Lamp,colour,red\n1,Lamp,size,S\n2,Hat,colour,red\n")
    mapping = '[items]\nid="item"\ntitle="name"\n[triples]\nitem="item"\nproperty="p"\nvalue="v"\n'
    catalogue, builder = _read(tmp_path / "shop.csv", mapping)
    assert catalogue.items["title"].tolist() == ["Lamp", "Hat"]
    assert _triples(catalogue) == [("1", "colour", "red"), ("1", "size", "S"), ("2", "colour", "red")]
    assert builder.quarantine.rows == []
    assert (catalogue.rows.read, catalogue.rows.loaded, catalogue.rows.repeated) == (6, 5, 1)


def test_cells_of_several_values(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "1", "tag": "a| b||a", "size": '["S", 40, null]', "fit": ["slim", "", "wide"], "note": "x|y"},
        {"id": "2", "tag": None, "size": "S, M", "fit": {"a": 1}, "note": "half \ud83d"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mapping = '[items]\nid="id"\nproperties={tag="tag", size="size", fit="fit", note="note"}\n[several]\n'
    catalogue, builder = _read(tmp_path / "t.jsonl", mapping + 'tag="|"\nsize="json"')
    assert _triples(catalogue) == [
        *(("1", "tag", value) for value in "ab"),
        *(("1", "size", value) for value in ("S", "40")),
        *(("1", "fit", value) for value in ("slim", "wide")),
        ("1", "note", "x|y"),
    ]
    assert builder.quarantine.rows == [
        "t.jsonl\t2\titem 2 went in without a value: column size: expected a JSON list, got 'S, M'",
        "t.jsonl\t2\titem 2 went in without a value: column fit: expected text, a number or true/false, got {'a': 1}",
        "t.jsonl\t2\titem 2 went in without a value: column note: expected text, a number or true/false, "
        "got 'half \\ud83d'",
    ]
    assert (catalogue.rows.loaded, builder.quarantine.partial, catalogue.rows.repeated_pairs) == (2, 3, 1)


def test_numbers_and_dates_of_typed_files(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([1, 2]),
        "name": pa.array([10.0, None]),
        "year": pa.array([2020.0, 2021.5]),
        "new": pa.array([True, False]),
        "on": pa.array([date(2020, 2, 1), None]),
        "price": pa.array([Decimal("1.50"), Decimal("2.00")]),
        "stock": pa.array([3, None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    mapping = '[items]\nid="id"\ntitle="name"\nfields={price="price", stock="stock", new="new", from="on"}\n'
    catalogue, _ = _read(tmp_path / "t.parquet", mapping + 'properties={year="year", new="new", on="on"}')
    assert catalogue.items.to_dict("records") == [
        {"id": "1", "title": "10", "category": None, "price": 1.5, "stock": 3, "new": True, "from": "2020-02-01"}
        | {"image": None},
        {"id": "2", "title": None, "category": None, "price": 2.0, "stock": None, "new": False, "from": None}
        | {"image": None},
    ]
    assert _triples(catalogue) == [
        ("1", "year", "2020"),
        ("1", "new", "true"),
        ("1", "on", "2020-02-01"),
        ("2", "year", "2021.5"),
        ("2", "new", "false"),
    ]


def test_ids_that_pandas_made_floats(tmp_path: Path) -> None:
    pd.DataFrame({"id": [7.0, 8.5, None]}).to_parquet(tmp_path / "t.parquet")
    catalogue, builder = _read(tmp_path / "t.parquet", '[items]\nid="id"')
    assert catalogue.items["id"].tolist() == ["7"]
    assert builder.quarantine.rows == [
        "t.parquet\t2\texpected an item id, got 8.5",
        "t.parquet\t3\texpected an item id, got None",
    ]


def test_cells_that_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,name,a,b\n1,NA,-, \n2,n/a,NA,x\n")
    mapping = 'empty=["NA", "-"]\n[items]\nid="id"\ntitle="name"\nproperties={a="a", b="b"}\n'
    catalogue, _ = _read(tmp_path / "t.csv", mapping)
    assert catalogue.items["title"].tolist() == [None, "n/a"]
    assert _triples(catalogue) == [("2", "b", "x")]


def test_cells_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,a\n1,  Red  Wine \n2,RED WINE\n")
    catalogue, _ = _read(tmp_path / "t.csv", '[items]\nid="id"\nproperties={a="a"}')
    assert _triples(catalogue) == [("1", "a", "  Red  Wine "), ("2", "a", "RED WINE")]


def _shop_of_images(folder: Path) -> None:
    (folder / "photos" / "front").mkdir(parents=True)
    (folder / "photos" / "front" / "1.png").write_bytes(_picture(1))
    (folder / "photos" / "bad.png").write_bytes(b"no picture")
    with ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("b/2.png", _picture(2))
    (folder / "secret.png").write_bytes(_picture(9))
    (folder / "t.csv").write_text(
        "id,photo\n1,front/1.png\n2,b/2.png\n3,\n4,bad.png\n5,../secret.png\n6,https://a/6.png\n"
    )


def test_images_by_the_name_in_a_column(tmp_path: Path) -> None:
    _shop_of_images(tmp_path)
    catalogue, builder = _read(tmp_path / "t.csv", '[items]\nid="id"\nimage="photo"\nimages=["photos", "more.zip"]')
    keys = catalogue.items["image"].tolist()
    assert keys[:2] == [image_key(_picture(1)), image_key(_picture(2))]
    assert builder.images.get(keys[1]) == _picture(2)
    assert keys[2:] == [None] * 4
    without = "went in without its image"
    assert builder.quarantine.rows == [
        f"t.csv\t5\titem 4 {without}: it is in no image format that is known",
        f"t.csv\t6\titem 5 {without}: CatalogueError: ../secret.png is in no image folder or archive",
        f"t.csv\t7\titem 6 {without}: CatalogueError: https://a/6.png is in no image folder or archive",
    ]


def test_image_paths_beside_the_file(tmp_path: Path) -> None:
    _shop_of_images(tmp_path)
    (tmp_path / "t.csv").write_text("id,photo\n1,photos/front/1.png\n2,secret.png\n")
    catalogue, _ = _read(tmp_path, '[items]\nfiles="t.csv"\nid="id"\nimage="photo"')
    assert catalogue.items["image"].tolist() == [image_key(_picture(1)), image_key(_picture(9))]


def test_images_called_like_the_id(tmp_path: Path) -> None:
    _shop_of_images(tmp_path)
    (tmp_path / "photos" / "front" / "1.webp").write_bytes(_picture(8))  # the first by name is taken
    catalogue, builder = _read(tmp_path / "t.csv", '[items]\nid="id"\nimages=["photos", "more.zip"]')
    assert catalogue.items["image"].tolist() == [image_key(_picture(1)), image_key(_picture(2)), *[None] * 4]
    assert builder.quarantine.rows == []


def test_image_bytes_in_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["1", "2"], "photo": [_picture(3), None]}).to_parquet(tmp_path / "t.parquet")
    catalogue, _ = _read(tmp_path / "t.parquet", '[items]\nid="id"\nimage="photo"')
    assert catalogue.items["image"].tolist() == [image_key(_picture(3)), None]


@pytest.mark.parametrize("place", ["nowhere", "t.csv", "broken.zip"])
def test_images_that_lie_nowhere(place: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(CatalogueError, match=f"{place}( is missing|: images lie in a folder or a zip archive)"):
        _read(tmp_path / "t.csv", f'[items]\nid="id"\nimages="{place}"')


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("", "mapping.toml: mapping: items must be named"),
        ("[items]\n", "mapping: items: id must be named"),
        ('[items]\nid="sku"\n[triples]\nitem="a"\n', "mapping: triples: property, value must be named"),
        ('[items]\nid="sku"\ntitel="name"', "mapping: items: unknown titel .known: id, files, title, "),
        ("[items]\nid=7", r"mapping: items: id: expected text \(got 7\)"),
        ('[items]\nid=""', r"mapping: items: id: expected text \(got ''\)"),
        ('items="sku"', r"mapping: items: expected a section \(got 'sku'\)"),
        ('[items]\nid="a"\nfields=["b"]', "mapping: items: fields: expected a section"),
        ('[items]\nid="a"\nproperties={b=[1]}', "mapping: items: properties: b: expected text"),
        ('quoted="no"\n[items]\nid="a"', "mapping: quoted: expected true or false"),
        ('separator="||"\n[items]\nid="a"', "separator: expected one character"),
        ('[items]\nid="a"\nfields={"my field"="b"}', "called by letters, digits and underscores.*'my field'"),
        ('[items]\nid="a"\nfields={Title="b"}', "and not id, title.*'Title'"),
        ('[items]\nid="a"\nfields={p="b"}\nnumbers={p="c"}', "p stands in fields and in numbers"),
        ("[items\n", "mapping.toml: Expected"),
        (
            '[items]\nid="no"\ntitle="name"\nproperties={c="Colour"}',
            r"t.csv has no column 'no', 'Colour' \(columns: sku",
        ),
        ('[items]\nid="sku"\nfiles="x*.csv"', r"x\*.csv is missing"),
    ],
)
def test_mappings_that_do_not_fit(mapping: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sku,name\n1,Lamp\n")
    with pytest.raises(CatalogueError, match=message):
        _read(tmp_path / "t.csv", mapping)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _shop_of_images(tmp_path)
    (tmp_path / "m.toml").write_text('[items]\nid="id"\nimage="photo"\nimages="photos"\nproperties={kind="photo"}')
    location = str(tmp_path / "out" / "store.lbdb")
    words = ["table", str(tmp_path / "t.csv"), "--store", location]
    assert ingest.main([*words, "--mapping", str(tmp_path / "m.toml")]) == 0
    assert "rows read                            6" in capsys.readouterr().out
    with graphstore.open(location) as store:
        assert (store.num_items, store.num_training_triples, store.counts().images) == (6, 5, 1)
        (key,) = store.items(("image",))["image"].drop_null().to_pylist()
        assert store.images.get(key) == _picture(1)


def test_the_mapping_belongs_to_tables_alone(tmp_path: Path) -> None:
    for words in (["table"], ["demo", "--mapping", "m.toml"]):
        arguments = [words[0], str(tmp_path), "--store", str(tmp_path / "s.lbdb"), *words[1:]]
        with pytest.raises(ValueError, match="--mapping says what the columns of a table are"):
            ingest.main(arguments)
