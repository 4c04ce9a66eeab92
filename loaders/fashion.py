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
    groups = _style_groups(path / "style_groups.tsv", builder)
    archives = [ZipFile(file) for file in sorted(path.glob("images-*.zip"))]
    if not archives:
        raise CatalogueError(f"{path} holds no images-*.zip")
    places = {name: archive for archive in archives for name in archive.namelist()}
    file = path / "items.jsonl.gz"
    for number, row in read_json(file, builder):
        _item(file, number, row, builder, groups, places)
    for name, split in SPLITS.items():
        read_triples(path / f"triples-{name}.tsv", builder, split)
    return builder.catalogue(brings_splits=True)


def _style_groups(file: Path, builder: CatalogueBuilder) -> dict[str, str]:
    groups = {}
    for _, (id, group) in read_cells(file, builder, ("id", "group")):
        builder.rows += 1
        groups[id] = group
    return groups


def _item(
    file: Path,
    number: int,
    row: dict[str, Any],
    builder: CatalogueBuilder,
    groups: dict[str, str],
    places: dict[str, ZipFile],
) -> None:
    id, name = str(row.get("id") or ""), row.get("image")
    picture = places[name].read(name) if name in places else None
    if name and picture is None:
        builder.quarantine.part(file, number, f"item {id}: {name} is in no image archive, the item went in without")
    fields = {field: row.get(field) for field in FIELDS}
    title, category = row.get("title"), row.get("articleType")
    builder.item(file, number, id, picture, title=title, category=category, group=groups.get(id), **fields)
