"""The fashion catalogue: items.jsonl.gz, images-*.zip, triples-*.tsv, style_groups.tsv, as the research copy of
Kaggle's "Fashion Product Images" lays them out. It brings its own splits; `category` is articleType, `group` the
style of an item."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, read_cells, read_json, read_triples

SPLITS = {"train": None, "valid": "valid", "test": "test", "cold": "cold", "cold-valid": "cold-valid"}
FIELDS = ("description", "price", "masterCategory", "subCategory")


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in the folder `path`.

    Raises:
        CatalogueError: a file that is missing.
    """
    archives = [ZipFile(archive) for archive in sorted(path.glob("images-*.zip"))]
    if not archives:
        raise CatalogueError(f"{path} holds no images-*.zip")
    places = {name: archive for archive in archives for name in archive.namelist()}
    file, styles = path / "items.jsonl.gz", path / "style_groups.tsv"
    for number, row in read_json(file, builder):
        _item(file, number, row, builder, places)
    for number, (id, group) in read_cells(styles, builder, ("id", "group")):
        builder.style(styles, number, id, group)
    for name, split in SPLITS.items():
        read_triples(path / f"triples-{name}.tsv", builder, split)
    return builder.catalogue(brings_splits=True)


def _item(file: Path, number: int, row: dict[str, Any], builder: CatalogueBuilder, places: dict[str, ZipFile]) -> None:
    name = row.get("image")
    photograph = (lambda: _bytes_of(name, places)) if name else None
    fields = {"title": row.get("title"), "category": row.get("articleType"), "group": None}
    fields |= {field: row.get(field) for field in FIELDS}
    builder.item(file, number, row.get("id"), fields, photograph)


def _bytes_of(name: str, places: dict[str, ZipFile]) -> bytes:
    if name not in places:
        raise CatalogueError(f"{name} is in no image archive")
    return places[name].read(name)
