import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graphstore import image_key
from graphstore.images import MemoryImages
from loaders import kaggle_fashion
from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError
from loaders.kaggle_fashion import COLUMNS
from loaders.quarantine import Quarantine

HEADER = ",".join(COLUMNS)
SHIRT = "15970,Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,Turtle Check Men Navy Blue, Full Sleeve, Shirt"
WATCH = "59263,Women,Accessories,Watches,Watches,NA,Winter,2016,NA,Titan Women Silver Watch"


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 8), "navy").save(buffer, "JPEG")
    return buffer.getvalue()


def _style(id: int, **data: Any) -> dict[str, Any]:
    """A file of styles/, less what nobody reads."""
    return {
        "notification": {},
        "meta": {"code": 200, "requestId": "a"},
        "data": {
            "id": id,
            "price": 895,
            "brandName": "Turtle",
            "ageGroup": "Adults-Men",
            "fashionType": "Fashion",
            "colour1": "NA",
            "colour2": "",
            "articleAttributes": {"Fit": "Regular Fit", "Pattern": "Checked", "Body or Garment Size": "NA"},
            "articleType": {"id": 73, "typeName": "Shirts"},
            "productDescriptors": {"description": {"descriptorType": "description", "value": "<p>Blue</p>"}},
        }
        | data,
    }


def _write(folder: Path, rows: str, styles: dict[str, Any] | None) -> None:
    (folder / "styles.csv").write_text(rows, encoding="utf-8")
    if styles is not None:
        (folder / "styles").mkdir()
    for id, content in (styles or {}).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "styles" / f"{id}.json").write_text(text)


def _read(folder: Path) -> tuple[Catalogue, list[str]]:
    builder = CatalogueBuilder("kaggle-fashion", MemoryImages(), Quarantine())
    return kaggle_fashion.read(folder, builder), builder.quarantine.rows


def test_a_row_and_its_json_are_one_item(tmp_path: Path) -> None:
    _write(tmp_path, f"{HEADER}\n{SHIRT}\n", {"15970": _style(15970)})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "15970.jpg").write_bytes(_picture())
    catalogue, quarantine = _read(tmp_path)
    (item,) = catalogue.items.to_dict("records")
    assert item == {
        "id": "15970",
        "title": "Turtle Check Men Navy Blue, Full Sleeve, Shirt",
        "category": "Shirts",
        "masterCategory": "Apparel",
        "subCategory": "Topwear",
        "description": "<p>Blue</p>",
        "price": 895,
        "image": image_key(_picture()),
    }
    assert catalogue.triples[["property", "value"]].values.tolist() == [
        ["gender", "Men"],
        ["baseColour", "Navy Blue"],
        ["season", "Fall"],
        ["year", "2011"],
        ["usage", "Casual"],
        ["brand", "Turtle"],
        ["ageGroup", "Adults-Men"],
        ["fashionType", "Fashion"],
        ["attr:Fit", "Regular Fit"],
        ["attr:Pattern", "Checked"],
    ]
    assert quarantine == []
    assert (catalogue.rows.read, catalogue.rows.loaded, catalogue.brings_splits) == (1, 1, False)


def test_the_small_variant_has_no_json(tmp_path: Path) -> None:
    _write(tmp_path, f"{HEADER}\n{WATCH}\n", None)
    catalogue, quarantine = _read(tmp_path)
    facts = catalogue.triples[["property", "value"]].values.tolist()
    assert facts == [["gender", "Women"], ["season", "Winter"], ["year", "2016"]]
    assert (catalogue.items["image"].tolist(), quarantine) == ([None], [])


def test_what_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    rows = f"{HEADER}\n{SHIRT}\n1{SHIRT}\n2{SHIRT}\n3{SHIRT}\n{WATCH}\nabc,Men\n\n"
    half = _style(0, articleAttributes={"Fit": {"value": "Slim"}, "Neck": "Round"})
    styles = {"15970": half, "115970": "{", "215970": {"meta": {}}, "315970": _style(0, articleAttributes=[1]), "7": {}}
    _write(tmp_path, rows, styles)
    (tmp_path / "images").mkdir()
    for id in ("15970", "115970", "215970", "315970"):
        (tmp_path / "images" / f"{id}.jpg").write_bytes(_picture())
    catalogue, quarantine = _read(tmp_path)
    expected = "expected data and its articleAttributes"
    assert [row for row in quarantine if "image" not in row] == [
        "styles.csv\t2\titem 15970 went in without attr:Fit: expected text, got {'value': 'Slim'}",
        f"styles.csv\t3\titem 115970 went in without its styles/115970.json: {expected}: JSONDecodeError: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        f"styles.csv\t4\titem 215970 went in without its styles/215970.json: {expected}: KeyError: 'data'",
        f"styles.csv\t5\titem 315970 went in without its styles/315970.json: {expected}: TypeError: "
        "cannot convert dictionary update sequence element #0 to a sequence",
        "styles.csv\t6\titem 59263 went in without its styles/59263.json, which is missing",
        "styles.csv\t7\texpected a number and 9 further columns, got 'abc,Men'",
        "styles.csv\t8\texpected a number and 9 further columns, got ''",
        "7.json\t1\tstyles.csv has no row of it",
    ]
    assert ["item 59263 went in without its image" in row for row in quarantine].count(True) == 1
    counts = catalogue.rows
    assert (counts.read, counts.loaded, counts.set_aside) == (8, 5, 3)
    assert ("15970", "attr:Neck", "Round") in set(catalogue.triples[["item", "property", "value"]].itertuples(False))


@pytest.mark.parametrize("header", ["id,gender,name", HEADER.replace("usage", "use"), "\xff"])
def test_another_header(header: str, tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_bytes(f"{header}\n".encode("latin-1"))
    with pytest.raises(CatalogueError, match=r"styles.csv: (expected the columns id, gender|its header is no UTF-8)"):
        _read(tmp_path)
