"""The folder of Kaggle's "Fashion Product Images" as it comes: `styles.csv`, a row an item, whose last column holds
commas without quotes; `styles/ID.json` with the rest, articleAttributes above all; `images/ID.jpg`.

Properties are called as in the source fashion: gender, brand, attr:Neck and so on. `category` is articleType. NA says
nothing. The small variant has no styles/: its items have the properties of styles.csv alone.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, is_text, read_lines

COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)
PROPERTIES = ("gender", "baseColour", "season", "year", "usage")
DETAILS = {"brandName": "brand", "ageGroup": "ageGroup", "fashionType": "fashionType"} | {
    name: name for name in ("colour1", "colour2")
}
"""Properties that stand in the JSON alone, by their name there."""
NOTHING = (None, "", "NA")


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in the folder `path`.

    Raises:
        CatalogueError: styles.csv is missing or has other columns.
    """
    file, seen = path / "styles.csv", set()
    for number, line in read_lines(file, builder, header=True):
        cells = line.split(",", len(COLUMNS) - 1)
        if number == 1:
            _require_columns(file, cells)
        elif len(cells) < len(COLUMNS) or not cells[0].isdecimal():
            expected = f"expected a number and {len(COLUMNS) - 1} further columns"
            builder.refuse(file, number, f"{expected}, got {line!r:.60}")
        else:
            seen.add(cells[0])
            _item(file, number, dict(zip(COLUMNS, cells, strict=True)), builder)
    for left in sorted(path.glob("styles/*.json")):
        if left.stem not in seen:
            builder.read += 1
            builder.refuse(left, 1, f"{file.name} has no row of it")
    return builder.catalogue(brings_splits=False)


def _require_columns(file: Path, header: list[str]) -> None:
    if tuple(name.strip("\ufeff,") for name in header) != COLUMNS:
        raise CatalogueError(f"{file}: expected the columns {', '.join(COLUMNS)} (got {', '.join(header)})")


def _item(file: Path, number: int, row: dict[str, str], builder: CatalogueBuilder) -> None:
    id, image = row["id"], file.parent / "images" / f"{row['id']}.jpg"
    details, problems = _details(file.parent / "styles", id)
    pairs, refused = _pairs([*((name, row[name]) for name in PROPERTIES), *_stated(details)])
    fields = {
        "title": row["productDisplayName"],
        "category": row["articleType"],
        "masterCategory": row["masterCategory"],
        "subCategory": row["subCategory"],
        "description": _at(details, "productDescriptors", "description", "value"),
        "price": details.get("price"),
    }
    if builder.item(file, number, id, fields, image.read_bytes if image.parent.is_dir() else None, pairs):
        for problem in (*problems, *refused):
            builder.quarantine.part(file, number, f"item {id} went in without {problem}")


def _details(folder: Path, id: str) -> tuple[dict[str, Any], list[str]]:
    """What the item's JSON says, and what is wrong with it."""
    if not folder.is_dir():
        return {}, []
    try:
        data = json.loads((folder / f"{id}.json").read_bytes())["data"]
        attributes = data.get("articleAttributes") or {}
        return data | {"articleAttributes": dict(attributes)}, []
    except FileNotFoundError:
        return {}, [f"its styles/{id}.json, which is missing"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return {}, [f"its styles/{id}.json: expected data and its articleAttributes: {type(error).__name__}: {error}"]


def _stated(details: dict[str, Any]) -> list[tuple[str, Any]]:
    attributes = details.get("articleAttributes", {})
    return [
        *((ours, details.get(theirs)) for theirs, ours in DETAILS.items()),
        *((f"attr:{name}", value) for name, value in attributes.items()),
    ]


def _pairs(stated: Iterable[tuple[str, Any]]) -> tuple[list[tuple[str, str]], list[str]]:
    """(property, value), and what is none."""
    said = [(property, value) for property, value in stated if value not in NOTHING]
    refused = [f"{property}: expected text, got {value!r:.60}" for property, value in said if not is_text(value)]
    return [(property, value) for property, value in said if is_text(value)], refused


def _at(details: Any, *keys: str) -> Any:
    """What lies under these keys; None where there is no such thing."""
    for key in keys:
        details = details.get(key) if isinstance(details, dict) else None
    return details
