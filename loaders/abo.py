"""Amazon Berkeley Objects: `listings/metadata/listings_*.json.gz`, a listing a line, whose texts are lists of
{language_tag, value}; `images/metadata/images.csv.gz`, which names the file of each image id; `images/small/`.

A listing is told by its item_id and its domain_name together, so an item is ITEM_ID@DOMAIN_NAME. Of a text in several
languages the English ones are taken, and all where none is English. `category` is product_type, the photograph the
main one. Measures are fields with their unit in the name (`item_weight_pounds`). Keywords, other photographs and 3D
models stay out. Without images/ the items have no photographs.
"""

from pathlib import Path
from typing import Any

from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, is_text, read_json
from loaders.rows import Layout, read_rows

PROPERTIES = (
    "brand",
    "color",
    "fabric_type",
    "finish_type",
    "item_shape",
    "material",
    "model_year",
    "pattern",
    "style",
)
SIZES = ("height", "length", "width")


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in the folder `path`.

    Raises:
        CatalogueError: there are no listings, or images/ without its table.
    """
    files = sorted(path.glob("listings/metadata/listings_*.json.gz"))
    if not files:
        raise CatalogueError(f"{path / 'listings/metadata/listings_*.json.gz'} is missing")
    photographs = _photographs(path / "images", builder) if (path / "images").is_dir() else None
    for file in files:
        for number, row in read_json(file, builder):
            try:
                _item(file, number, row, builder, photographs)
            except ValueError as error:
                builder.refuse(file, number, str(error))
    return builder.catalogue(brings_splits=False)


def _photographs(images: Path, builder: CatalogueBuilder) -> dict[str, Path]:
    """Files by image id."""
    file = images / "metadata" / "images.csv.gz"
    paths: dict[str, Path] = {}
    for number, row in read_rows(file, builder, ("image_id", "path"), Layout(quoted=False)):
        builder.take(file, number, paths, row["image_id"], images / "small" / row["path"], f"image {row['image_id']}")
    return paths


def _item(
    file: Path, number: int, row: dict[str, Any], builder: CatalogueBuilder, photographs: dict[str, Path] | None
) -> None:
    item, domain, image = (_text(row, name) for name in ("item_id", "domain_name", "main_image_id"))
    pairs = [(name, value) for name in PROPERTIES for value in _values(row, name)]
    pairs += [("country", country)] if (country := _text(row, "country")) else []
    fields: dict[str, Any] = {
        "title": next(iter(_values(row, "item_name")), None),
        "category": next(iter(_values(row, "product_type")), None),
        "item_id": item,
        "domain_name": domain,
        "bullet_points": "\n".join(_values(row, "bullet_point")),
        "node": next((entry.get("node_name") for entry in _entries(row, "node")), None),
    }
    photograph = None
    if image and photographs is not None:
        photograph = lambda: _bytes_of(image, photographs)  # noqa: E731
    builder.item(file, number, item and domain and f"{item}@{domain}", fields | _measures(row), photograph, pairs)


def _bytes_of(image: str, photographs: dict[str, Path]) -> bytes:
    if image not in photographs:
        raise CatalogueError(f"images.csv.gz has no image {image}")
    return photographs[image].read_bytes()


def _entries(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = row.get(name) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{name}: expected a list of objects, got {entries!r:.60}")
    return entries


def _values(row: dict[str, Any], name: str) -> list[str]:
    """The texts of a list of {language_tag, value}: English where there is such."""
    entries = [entry for entry in _entries(row, name) if entry.get("value") not in (None, "")]
    english = [entry for entry in entries if str(entry.get("language_tag")).startswith("en")]
    return [_checked(name, entry["value"]) for entry in english or entries]


def _text(row: dict[str, Any], name: str) -> str | None:
    return None if row.get(name) is None else _checked(name, row[name])


def _checked(name: str, value: Any) -> str:
    """Text; years are numbers in the files."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and is_text(value):
        return value
    raise ValueError(f"{name}: expected text, got {value!r:.60}")


def _measures(row: dict[str, Any]) -> dict[str, float]:
    """item_weight_UNIT, height_UNIT and so on, in the unit that the files normalised them to."""
    sizes = row.get("item_dimensions") or {}
    if not isinstance(sizes, dict):
        raise ValueError(f"item_dimensions: expected an object, got {sizes!r:.60}")
    given = [("item_weight", entry) for entry in _entries(row, "item_weight")[:1]]
    given += [(name, sizes[name]) for name in SIZES if name in sizes]
    return dict(_normalised(name, entry) for name, entry in given)


def _normalised(name: str, entry: Any) -> tuple[str, float]:
    measure = entry.get("normalized_value") if isinstance(entry, dict) else None
    if not isinstance(measure, dict) or not str(measure.get("unit", "")).isidentifier():
        raise ValueError(f"{name}: expected a normalized_value with unit and value, got {entry!r:.60}")
    value = measure.get("value")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    return f"{name}_{measure['unit']}", float(value)
