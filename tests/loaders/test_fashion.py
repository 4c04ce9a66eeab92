import gzip
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import fashion
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine

ITEMS: Sequence[dict[str, Any]] = [
    {
        "id": "1",
        "title": "Red shirt",
        "description": "<p>100% <b>cotton</b></p>",
        "masterCategory": "Apparel",
        "subCategory": "Topwear",
        "articleType": "Shirts",
        "image": "1.jpg",
        "price": 799.0,
    },
    {"id": "2", "title": "Blue shirt", "articleType": "Shirts", "image": None, "price": None},
    {"id": "3", "title": "Watch", "articleType": "Watches", "image": "3.jpg"},
    {"id": "4", "title": "Belt", "articleType": "Belts", "image": "4.jpg"},
]


def _read(path: Path, limit: int | None = None) -> tuple[Catalogue, Quarantine]:
    quarantine = Quarantine()
    return fashion.read(path, CatalogueBuilder("fashion", MemoryImages(), quarantine, limit)), quarantine


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder in the format: 3.jpg is in no archive, 4.jpg is damaged in its."""
    with gzip.open(tmp_path / "items.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in ITEMS)
    with ZipFile(tmp_path / "images-0.zip", "w") as archive:
        archive.writestr("1.jpg", _jpeg())
    with ZipFile(tmp_path / "images-1.zip", "w") as archive:
        archive.writestr("4.jpg", b"the bytes of a photograph")
    damaged = (tmp_path / "images-1.zip").read_bytes().replace(b"photograph", b"photogroph")
    (tmp_path / "images-1.zip").write_bytes(damaged)
    (tmp_path / "style_groups.tsv").write_text("1\tg1\n2\tg1\n9\tg9\n")
    for name, rows in {
        "train": "1\tbrand\tAldo\n1\tattr:Neck\tRound\n2\tbrand\tAldo\n",
        "valid": "2\tattr:Neck\tRound\n",
        "test": "2\tattr:Fit\tSlim\n",
        "cold": "3\tattr:Dial\tRound\n",
        "cold-valid": "4\tattr:Width\tWide\n",
    }.items():
        (tmp_path / f"triples-{name}.tsv").write_text(rows)
    return tmp_path


def test_a_folder_in_the_format(shop: Path) -> None:
    catalogue, quarantine = _read(shop)
    first = catalogue.items.iloc[0].to_dict()
    assert first == {
        "id": "1",
        "title": "Red shirt",
        "category": "Shirts",
        "group": "g1",
        "description": "<p>100% <b>cotton</b></p>",
        "price": 799.0,
        "masterCategory": "Apparel",
        "subCategory": "Topwear",
        "image": image_key(_jpeg()),
    }
    assert catalogue.items["group"].tolist() == ["g1", "g1", None, None]
    assert catalogue.items["image"].isna().tolist() == [False, True, True, True]
    assert catalogue.triples[["item", "property", "split"]].values.tolist() == [
        ["1", "brand", None],
        ["1", "attr:Neck", None],
        ["2", "brand", None],
        ["2", "attr:Neck", "valid"],
        ["2", "attr:Fit", "test"],
        ["3", "attr:Dial", "cold"],
        ["4", "attr:Width", "cold-valid"],
    ]
    assert catalogue.brings_splits
    assert quarantine.rows == [  # item 2 has no photograph, and that is all right
        "items.jsonl.gz\t3\titem 3 went in without its image: CatalogueError: 3.jpg is in no image archive",
        "items.jsonl.gz\t4\titem 4 went in without its image: BadZipFile: Bad CRC-32 for file '4.jpg'",
        "style_groups.tsv\t3\titem 9 is not in the catalogue",
    ]
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.set_aside) == (14, 13, 1)


def test_the_first_items_alone(shop: Path) -> None:
    catalogue, quarantine = _read(shop, limit=2)
    assert catalogue.items["id"].tolist() == ["1", "2"]
    assert set(catalogue.triples["item"]) == {"1", "2"}
    assert quarantine.rows == ["style_groups.tsv\t3\titem 9 is not in the catalogue"]


@pytest.mark.parametrize("name", ["items.jsonl.gz", "style_groups.tsv", "triples-train.tsv", "triples-cold-valid.tsv"])
def test_a_file_that_is_missing(shop: Path, name: str) -> None:
    (shop / name).unlink()
    with pytest.raises(CatalogueError, match=f"{name} is missing"):
        _read(shop)


def test_no_archives(shop: Path) -> None:
    for archive in shop.glob("images-*.zip"):
        archive.unlink()
    with pytest.raises(CatalogueError, match=r"holds no images-\*.zip"):
        _read(shop)


@pytest.mark.data
@pytest.mark.slow
def test_the_real_catalogue_is_read_whole(real_data: Path) -> None:
    """The counts of the data's README."""
    catalogue, quarantine = _read(real_data / "fashion")
    splits = Counter(catalogue.triples["split"].fillna("training"))
    assert splits == {"training": 464_390, "valid": 7_487, "test": 14_555, "cold": 8_406, "cold-valid": 3_797}
    items = catalogue.items
    assert (len(items), int(items["image"].notna().sum())) == (40_906, 39_950)
    assert catalogue.triples["property"].nunique() == 197
    assert [items[name].nunique() for name in ("masterCategory", "subCategory", "category")] == [6, 43, 140]
    assert quarantine.rows == []
    counts = catalogue.rows
    assert (counts.repeated, counts.set_aside, counts.over_limit) == (0, 0, 0)
    assert counts.loaded == counts.read
