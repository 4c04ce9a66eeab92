"""What every source keeps, on a small folder in its format with more in it than fits: a repeated row, a broken one."""

import gzip
import io
import json
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import graphstore
from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import demo, kaggle_fashion, table
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.ingest import SOURCES, Arguments, ingest
from loaders.quarantine import Quarantine

NUM_ITEMS = 20


def _picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 8), (number * 10, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def _write_demo(folder: Path) -> None:
    demo.main([str(folder), "--items", str(NUM_ITEMS), "--seed", "0"])


def _write_fashion(folder: Path) -> None:
    folder.mkdir()
    with (
        gzip.open(folder / "items.jsonl.gz", "wt", encoding="utf-8") as file,
        ZipFile(folder / "images-0.zip", "w") as archive,
    ):
        for number in range(NUM_ITEMS):
            image = f"{number}.jpg" if number % 4 else None
            row = {"id": str(number), "title": f"Shirt {number}", "articleType": "Shirts", "image": image, "price": 9.5}
            file.write(json.dumps(row) + "\n")
            if image:
                archive.writestr(image, _picture(number))
    for name, property in {
        "train": "brand",
        "valid": "attr:Neck",
        "test": "attr:Fit",
        "cold": "attr:Dial",
        "cold-valid": "attr:Width",
    }.items():
        rows = "".join(f"{number}\t{property}\tv{number % 3}\n" for number in range(NUM_ITEMS))
        (folder / f"triples-{name}.tsv").write_text(rows)
    (folder / "style_groups.tsv").write_text("0\tg0\n1\tg0\n")


def _write_taobao(folder: Path) -> None:
    folder.mkdir()
    rows = [
        f"{number}\t围巾 {number}\thttps://a/{number}.jpg\t颜色#:#{number % 3}#;#产地#:#中国大陆\t围巾\n"
        for number in range(NUM_ITEMS)
    ]
    (folder / "train.tsv").write_text("".join(rows), encoding="utf-8")


def _write_abo(folder: Path) -> None:
    (folder / "listings" / "metadata").mkdir(parents=True)
    (folder / "images" / "metadata").mkdir(parents=True)
    (folder / "images" / "small" / "0a").mkdir(parents=True)
    listings, images = [], ["image_id,height,width,path"]
    for number in range(NUM_ITEMS):
        listings.append(
            json.dumps(
                {
                    "item_id": f"B{number}",
                    "domain_name": "amazon.com",
                    "item_name": [{"language_tag": "en_US", "value": f"Chair {number}"}],
                    "color": [{"language_tag": "en_US", "value": f"c{number % 3}"}],
                    "product_type": [{"value": "CHAIR"}],
                    "main_image_id": f"i{number}",
                }
            )
        )
        images.append(f"i{number},8,6,0a/{number}.jpg")
        (folder / "images" / "small" / "0a" / f"{number}.jpg").write_bytes(_picture(number))
    for file, lines in {
        "listings/metadata/listings_0.json.gz": listings,
        "images/metadata/images.csv.gz": images,
    }.items():
        (folder / file).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def _write_kaggle_fashion(folder: Path) -> None:
    for name in ("styles", "images"):
        (folder / name).mkdir(parents=True)
    rows = [",".join(kaggle_fashion.COLUMNS)]
    for number in range(NUM_ITEMS):
        rows.append(
            f"{number},Men,Apparel,Topwear,Shirts,Blue,Fall,201{number % 3},Casual,Shirt {number}, with a comma"
        )
        style = {"data": {"id": number, "brandName": f"b{number % 4}", "articleAttributes": {"Fit": f"f{number % 2}"}}}
        (folder / "styles" / f"{number}.json").write_text(json.dumps(style))
        (folder / "images" / f"{number}.jpg").write_bytes(_picture(number))
    (folder / "styles.csv").write_text("\n".join(rows) + "\n")


def _write_openbg_img(folder: Path) -> None:
    for number in range(0, NUM_ITEMS, 2):
        (folder / "OpenBG-IMG_images" / f"ent_{number}").mkdir(parents=True)
        (folder / "OpenBG-IMG_images" / f"ent_{number}" / "image_0.jpg").write_bytes(_picture(number))
    heads, tails = range(NUM_ITEMS), range(100, 104)
    lines = {
        "entity2text": [f"ent_{number}\t围巾 {number % 7}" for number in (*heads, *tails)],
        "relation2text": ["rel_0\t颜色", "rel_1\t产地"],
        "train": [f"ent_{number}\trel_0\tent_{100 + number % 3}" for number in heads],
        "dev": [f"ent_{number}\trel_1\tent_{100 + number % 4}" for number in heads],
        "test": [f"ent_{number}\trel_1" for number in heads],
    }
    for name, content in lines.items():
        (folder / f"OpenBG-IMG_{name}.tsv").write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


MAPPING = """
quoted = false
[items]
files = "items.tsv"
id = "id"
title = "name"
category = "type"
images = "photos.zip"
properties = {colour = "colour"}
[triples]
files = "facts.parquet"
item = "id"
property = "p"
value = "v"
"""


def _write_table(folder: Path) -> None:
    folder.mkdir()
    rows = [f"{number}\titem {number}\thats\tc{number % 3}" for number in range(NUM_ITEMS)]
    (folder / "items.tsv").write_text("\n".join(["id\tname\ttype\tcolour", *rows]) + "\n")
    facts = {"id": [str(number) for number in range(NUM_ITEMS)], "p": "size", "v": [n % 5 for n in range(NUM_ITEMS)]}
    pd.DataFrame(facts).to_parquet(folder / "facts.parquet")
    with ZipFile(folder / "photos.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.jpg", _picture(number))


WRITERS: dict[str, Callable[[Path], None]] = {
    "abo": _write_abo,
    "demo": _write_demo,
    "fashion": _write_fashion,
    "kaggle-fashion": _write_kaggle_fashion,
    "openbg-img": _write_openbg_img,
    "table": _write_table,
    "taobao": _write_taobao,
}
READERS = SOURCES | {"table": partial(table.read, mapping=table.mapping_of(tomllib.loads(MAPPING)))}
ITEM_FILES = {
    "abo": "listings/metadata/listings_0.json.gz",
    "demo": "items.jsonl",
    "fashion": "items.jsonl.gz",
    "kaggle-fashion": "styles.csv",
    "openbg-img": "OpenBG-IMG_entity2text.tsv",
    "table": "items.tsv",
    "taobao": "train.tsv",
}
HEADERS = {"kaggle-fashion": 1, "table": 1}
"""Lines of the items' file above the first item."""
NOT_LINES = {"abo": -1, "kaggle-fashion": -1, "table": -1 + NUM_ITEMS}
"""Rows that no line of text is, less lines that are headers."""


@pytest.fixture(params=sorted(READERS))
def source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(source: str, tmp_path: Path) -> Path:
    """The files, their first item's row twice, and a line that is no text."""
    path = tmp_path / "files"
    WRITERS[source](path)
    whole = _content(path / ITEM_FILES[source])
    first = whole.split(b"\n")[HEADERS.get(source, 0)]
    _rewrite(path / ITEM_FILES[source], whole + first + b"\n\xff\xfe\n")
    return path


def _content(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def _rewrite(file: Path, content: bytes) -> None:
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def _read(source: str, folder: Path, limit: int | None = None) -> tuple[Catalogue, Quarantine, CatalogueBuilder]:
    quarantine = Quarantine()
    builder = CatalogueBuilder(source, MemoryImages(), quarantine, limit)
    return READERS[source](folder, builder), quarantine, builder


def _num_rows(source: str, folder: Path) -> int:
    texts = [file for file in folder.rglob("*") if file.suffix in (".tsv", ".csv", ".jsonl", ".gz")]
    return sum(_content(file).count(b"\n") for file in texts) + NOT_LINES.get(source, 0)


def test_every_line_is_loaded_repeated_or_set_aside(source: str, folder: Path) -> None:
    catalogue, quarantine, _ = _read(source, folder)
    counts = catalogue.rows
    assert counts.read == _num_rows(source, folder)
    assert (counts.repeated, counts.set_aside, counts.over_limit) == (1, 1, 0)
    assert counts.loaded == counts.read - 2
    (row,) = quarantine.rows
    last = _content(folder / ITEM_FILES[source]).count(b"\n")
    assert last >= NUM_ITEMS + 2
    assert row.startswith(f"{Path(ITEM_FILES[source]).name}\t{last}\texpected UTF-8: ")


def test_tables_that_a_store_takes(source: str, folder: Path) -> None:
    catalogue, _, _ = _read(source, folder)
    store = graphstore.from_tables(catalogue.items, catalogue.triples, catalogue.properties)
    counts = store.counts()
    assert (counts.items, counts.triples) == (NUM_ITEMS, len(catalogue.triples))
    assert set(catalogue.triples["source"]) == {source}
    assert catalogue.brings_splits == bool(counts.splits)
    assert {"id", "title", "category", "image"} <= set(catalogue.items)


def test_photographs_are_kept_as_the_bytes_they_were(source: str, folder: Path) -> None:
    catalogue, _, builder = _read(source, folder)
    keys = catalogue.items["image"].dropna()
    assert all(image_key(builder.images.get(key)) == key for key in keys)
    given = {"abo": 20, "fashion": 15, "kaggle-fashion": 20, "openbg-img": 10, "table": 5, "taobao": 0}
    expected = given | {"demo": len(list(folder.glob("images/*")))}
    assert len(keys) == expected[source]


def test_a_limit_takes_the_first_items_and_their_triples(source: str, folder: Path) -> None:
    whole, _, _ = _read(source, folder)
    part, _, _ = _read(source, folder, limit=5)
    assert part.items["id"].tolist() == whole.items["id"].tolist()[:5]
    expected = whole.triples[whole.triples["item"].isin(part.items["id"])]
    assert part.triples.values.tolist() == expected.values.tolist()
    assert part.rows.read == whole.rows.read


def test_the_same_twice_changes_nothing(source: str, folder: Path, tmp_path: Path) -> None:
    location = tmp_path / "store.lbdb"
    mapping = None
    if source == "table":
        mapping = tmp_path / "mapping.toml"
        mapping.write_text(MAPPING)
    arguments = Arguments(source=source, path=folder, store=str(location), mapping=mapping)  # type: ignore[arg-type]
    with graphstore.open(location, "w") as store:
        _, _, first = ingest(arguments, store)
        contents = (tmp_path / "quarantine.tsv").read_bytes()
        _, _, second = ingest(arguments, store)
    assert (first.items_new, first.data_version) == (NUM_ITEMS, 1)
    assert (second.items_unchanged, second.triples_unchanged) == (NUM_ITEMS, first.triples_new)
    assert (second.items_changed, second.triples_changed, second.data_version) == (0, 0, 1)
    assert (tmp_path / "quarantine.tsv").read_bytes() == contents


def test_nothing_there(source: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"is missing|holds no images"):
        _read(source, tmp_path / "nowhere")


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_whatever_a_line_holds_the_other_rows_go_in(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes, JSON of any shape, cells of any text: every line comes to something, and the good rows are all there."""
    source = data.draw(st.sampled_from(sorted(READERS)))
    path = tmp_path_factory.mktemp(source) / "files"
    WRITERS[source](path)
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    objects = st.dictionaries(st.sampled_from(["id", "title", "image", "price"]), scalars | st.lists(scalars))
    cells = st.lists(st.text(), max_size=7).map("\t".join)
    lines = data.draw(st.lists(st.binary() | objects.map(json.dumps).map(str.encode) | cells.map(_encoded), max_size=8))
    file = path / ITEM_FILES[source]
    _rewrite(file, _content(file) + b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines))
    catalogue, quarantine, _ = _read(source, path)
    counts = catalogue.rows
    assert counts.read == _num_rows(source, path)
    assert counts.loaded + counts.repeated + quarantine.set_aside == counts.read
    assert len(catalogue.items) >= NUM_ITEMS
    assert graphstore.from_tables(catalogue.items, catalogue.triples).num_items == len(catalogue.items)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
