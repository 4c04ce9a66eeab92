"""What every source keeps, on a small folder in its format with more in it than fits: a repeated row, a broken one."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import graphstore
from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import demo
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


WRITERS: dict[str, Callable[[Path], None]] = {
    "demo": _write_demo,
    "fashion": _write_fashion,
    "taobao": _write_taobao,
}
ITEM_FILES = {"demo": "items.jsonl", "fashion": "items.jsonl.gz", "taobao": "train.tsv"}


@pytest.fixture(params=sorted(SOURCES))
def source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(source: str, tmp_path: Path) -> Path:
    """The files, their first item's row twice, and a line that is no text."""
    path = tmp_path / "files"
    WRITERS[source](path)
    whole = _content(path / ITEM_FILES[source])
    _rewrite(path / ITEM_FILES[source], whole + whole.split(b"\n")[0] + b"\n\xff\xfe\n")
    return path


def _content(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def _rewrite(file: Path, content: bytes) -> None:
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def _read(source: str, folder: Path, limit: int | None = None) -> tuple[Catalogue, Quarantine, CatalogueBuilder]:
    quarantine = Quarantine()
    builder = CatalogueBuilder(source, MemoryImages(), quarantine, limit)
    return SOURCES[source](folder, builder), quarantine, builder


def _num_lines(folder: Path) -> int:
    texts = [file for file in folder.iterdir() if file.suffix in (".tsv", ".jsonl", ".gz")]
    return sum(_content(file).count(b"\n") for file in texts)


def test_every_line_is_loaded_repeated_or_set_aside(source: str, folder: Path) -> None:
    catalogue, quarantine, _ = _read(source, folder)
    counts = catalogue.rows
    assert counts.read == _num_lines(folder)
    assert (counts.repeated, counts.set_aside, counts.over_limit) == (1, 1, 0)
    assert counts.loaded == counts.read - 2
    (row,) = quarantine.rows
    assert row.startswith(f"{ITEM_FILES[source]}\t{NUM_ITEMS + 2}\texpected UTF-8: ")


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
    expected = {"demo": len(list(folder.glob("images/*"))), "fashion": 15, "taobao": 0}
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
    arguments = Arguments(source=source, path=folder, store=str(location))  # type: ignore[arg-type]
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
    source = data.draw(st.sampled_from(sorted(SOURCES)))
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
    assert counts.read == _num_lines(path)
    assert counts.loaded + counts.repeated + quarantine.set_aside == counts.read
    assert len(catalogue.items) >= NUM_ITEMS
    assert graphstore.from_tables(catalogue.items, catalogue.triples).num_items == len(catalogue.items)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
