import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import abo
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 8), "navy").save(buffer, "JPEG")
    return buffer.getvalue()


def _inches(value: float) -> dict[str, Any]:
    return {"normalized_value": {"unit": "inches", "value": value}, "unit": "centimeters", "value": value * 2.54}


CHAIR: dict[str, Any] = {
    "brand": [{"language_tag": "en_US", "value": "Rivet"}, {"language_tag": "de_DE", "value": "Niete"}],
    "bullet_point": [{"language_tag": "en_US", "value": "Made to order"}, {"language_tag": "en_GB", "value": "Oak"}],
    "color": [{"language_tag": "en_US", "standardized_values": ["Multi"], "value": "Multicolor"}],
    "country": "US",
    "domain_name": "amazon.com",
    "item_dimensions": {"height": _inches(12), "length": _inches(12.5), "width": _inches(1)},
    "item_id": "B073P5PZ5P",
    "item_name": [{"language_tag": "zh_CN", "value": "椅子"}, {"language_tag": "en_US", "value": "Vintage Chair"}],
    "item_weight": [{"normalized_value": {"unit": "pounds", "value": 2.5}, "unit": "pounds", "value": 2.5}],
    "main_image_id": "91e1hw35cDL",
    "marketplace": "Amazon",
    "material": [{"language_tag": "zh_CN", "value": "木"}, {"language_tag": "ja_JP", "value": "木"}],
    "model_year": [{"value": 2018}],
    "node": [{"node_id": 1, "node_name": "/Home/Chairs"}],
    "other_image_id": ["b"],
    "product_type": [{"value": "CHAIR"}],
    "style": [{"language_tag": "en_US", "value": "White"}, {"language_tag": "en_GB", "value": "White"}],
}


def _write(folder: Path, *listings: dict[str, Any], images: str | None = None) -> None:
    (folder / "listings" / "metadata").mkdir(parents=True)
    for number, listing in enumerate(listings):
        line = json.dumps(listing).encode() + b"\n"
        (folder / "listings" / "metadata" / f"listings_{number:x}.json.gz").write_bytes(gzip.compress(line))
    if images is not None:
        (folder / "images" / "metadata").mkdir(parents=True)
        (folder / "images" / "metadata" / "images.csv.gz").write_bytes(gzip.compress(images.encode()))
        (folder / "images" / "small" / "14").mkdir(parents=True)
        (folder / "images" / "small" / "14" / "14fe8812.jpg").write_bytes(_picture())


def _read(folder: Path) -> tuple[Catalogue, list[str]]:
    builder = CatalogueBuilder("abo", MemoryImages(), Quarantine())
    return abo.read(folder, builder), builder.quarantine.rows


def test_a_listing(tmp_path: Path) -> None:
    _write(tmp_path, CHAIR, images="image_id,height,width,path\n91e1hw35cDL,500,400,14/14fe8812.jpg\n")
    catalogue, quarantine = _read(tmp_path)
    assert catalogue.items.to_dict("records") == [
        {
            "id": "B073P5PZ5P@amazon.com",
            "title": "Vintage Chair",
            "category": "CHAIR",
            "item_id": "B073P5PZ5P",
            "domain_name": "amazon.com",
            "bullet_points": "Made to order\nOak",
            "node": "/Home/Chairs",
            "item_weight_pounds": 2.5,
            "height_inches": 12.0,
            "length_inches": 12.5,
            "width_inches": 1.0,
            "image": image_key(_picture()),
        }
    ]
    assert catalogue.triples[["property", "value"]].values.tolist() == [
        ["brand", "Rivet"],
        ["color", "Multicolor"],
        ["material", "木"],
        ["model_year", "2018"],
        ["style", "White"],
        ["country", "US"],
    ]
    assert quarantine == []
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.repeated_pairs, catalogue.brings_splits) == (2, 2, 2, False)


def test_one_item_in_two_marketplaces_is_two_items(tmp_path: Path) -> None:
    _write(tmp_path, CHAIR, CHAIR | {"domain_name": "amazon.de"}, CHAIR)
    catalogue, _ = _read(tmp_path)
    assert catalogue.items["id"].tolist() == ["B073P5PZ5P@amazon.com", "B073P5PZ5P@amazon.de"]
    assert catalogue.items["image"].tolist() == [None, None]  # nothing is said of photographs that nobody fetched
    assert (catalogue.rows.loaded, catalogue.rows.repeated) == (2, 1)


def test_listings_that_do_not_fit(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"item_id": None},
        {"domain_name": None},
        {"brand": "Rivet"},
        {"color": [{"value": ["red"]}]},
        {"item_weight": [{"value": 2}]},
        {"item_dimensions": {"height": {"normalized_value": {"unit": "inches", "value": "12"}}}},
        {"item_dimensions": [1]},
        {"country": 7.5},
        {"country": "DE"},
    ]
    _write(tmp_path, CHAIR, *(CHAIR | part for part in wrong), images="image_id,height,width,path\n91e1hw35cDL,1,1,x\n")
    catalogue, quarantine = _read(tmp_path)
    assert len(catalogue.items) == 1
    assert [row.split("\t", 2)[2] for row in quarantine[1:]] == [
        "expected an item id, got None",
        "expected an item id, got None",
        "brand: expected a list of objects, got 'Rivet'",
        "color: expected text, got ['red']",
        "item_weight: expected a normalized_value with unit and value, got {'value': 2}",
        "height: expected a number, got '12'",
        "item_dimensions: expected an object, got [1]",
        "country: expected text, got 7.5",
        "item B073P5PZ5P@amazon.com stands in the catalogue already, with other content",
    ]
    assert "went in without its image: FileNotFoundError" in quarantine[0]
    assert catalogue.rows.set_aside == 9


def test_an_image_that_the_table_lacks(tmp_path: Path) -> None:
    _write(tmp_path, CHAIR, images="image_id,height,width,path\n")
    _, quarantine = _read(tmp_path)
    assert quarantine == [
        "listings_0.json.gz\t1\titem B073P5PZ5P@amazon.com went in without its image: "
        "CatalogueError: images.csv.gz has no image 91e1hw35cDL"
    ]


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"listings_\*.json.gz is missing"):
        _read(tmp_path)
    _write(tmp_path, CHAIR)
    (tmp_path / "images").mkdir()
    with pytest.raises(CatalogueError, match=r"images.csv.gz is missing"):
        _read(tmp_path)
