import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import demo_files
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine


def _read(path: Path, limit: int | None = None) -> tuple[Catalogue, Quarantine]:
    quarantine = Quarantine()
    return demo_files.read(path, CatalogueBuilder("demo", MemoryImages(), quarantine, limit)), quarantine


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "green").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Four items, the last of which names a photograph that is not there, and one row without an id."""
    items: list[dict[str, Any]] = [
        {"id": "a", "title": "Red vase", "category": "vase", "group": "g", "image": "a.jpg", "price": 3.5},
        {"id": "b", "title": None, "category": "vase", "image": "b.jpg"},
        {"title": "no id"},
        {"id": 7, "image": "gone.jpg"},
        {"id": "c", "title": "Jug", "image": 12},
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items), encoding="utf-8")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(_jpeg())
    (tmp_path / "images" / "b.jpg").write_bytes(b"no image")
    (tmp_path / "triples.tsv").write_text("a\tcolour\tred\na\tcolour\tred\n7\tcolour\tblue\nz\tcolour\tred\n")
    return tmp_path


def test_a_catalogue_without_splits(shop: Path) -> None:
    catalogue, quarantine = _read(shop)
    assert not catalogue.brings_splits
    assert catalogue.items.to_dict("records") == [
        {"id": "a", "title": "Red vase", "category": "vase", "group": "g", "price": 3.5, "image": image_key(_jpeg())},
        {"id": "b", "title": None, "category": "vase", "group": None, "price": None, "image": None},
        {"id": "7", "title": None, "category": None, "group": None, "price": None, "image": None},
        {"id": "c", "title": "Jug", "category": None, "group": None, "price": None, "image": None},
    ]
    assert catalogue.triples.values.tolist() == [
        ["a", "colour", "red", "demo", None],
        ["7", "colour", "blue", "demo", None],
    ]
    assert [row.split(": ")[0] for row in quarantine.rows] == [
        "items.jsonl\t2\titem b went in without its image",
        "items.jsonl\t3\texpected an item id, got None",
        "items.jsonl\t4\titem 7 went in without its image",
        "items.jsonl\t5\titem c went in without its image",
        "triples.tsv\t4\titem z is not in the catalogue",
    ]
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.repeated, counts.set_aside) == (9, 6, 1, 2)


def test_splits_and_groups_by_file(shop: Path) -> None:
    (shop / "triples-cold-valid.tsv").write_text("b\tcolour\tred\n")
    (shop / "triples-test.tsv").write_text("a\tsize\tS\na\tcolour\tred\n")
    (shop / "properties.tsv").write_text("colour\tpicture\n\ttitle\n")
    catalogue, quarantine = _read(shop)
    assert catalogue.brings_splits
    splits = catalogue.triples.set_index(["item", "property"])["split"].to_dict()
    assert splits == {
        ("a", "colour"): None,
        ("7", "colour"): None,
        ("b", "colour"): "cold-valid",
        ("a", "size"): "test",
    }
    assert catalogue.properties.to_dict("records") == [{"name": "colour", "group": "picture"}]
    assert "triples-test.tsv\t2\t<a, colour, red> stands in split training already, here in test" in quarantine.rows
    assert "properties.tsv\t2\texpected property and group, got '', 'title'" in quarantine.rows


def test_the_first_items_and_their_triples(shop: Path) -> None:
    catalogue, quarantine = _read(shop, limit=1)
    assert catalogue.items["id"].tolist() == ["a"]
    assert catalogue.triples["item"].tolist() == ["a"]
    assert quarantine.rows == [
        "items.jsonl\t3\texpected an item id, got None",
        "triples.tsv\t4\titem z is not in the catalogue",
    ]
    assert catalogue.rows.over_limit == 4  # items b, 7 and c, and a triple of 7


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"items.jsonl is missing"):
        _read(tmp_path)
    (tmp_path / "items.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(CatalogueError, match=r"triples.tsv is missing"):
        _read(tmp_path)
