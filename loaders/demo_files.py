"""The demo catalogue's files, and the plainest layout for a catalogue of one's own.

items.jsonl (id, title, category, image: a file's name, and further fields), images/, triples.tsv (id, property,
value), and where there are such triples-SPLIT.tsv and properties.tsv (property, group). Without triples-SPLIT.tsv it
brings no splits.
"""

from pathlib import Path
from typing import Any

from loaders.catalogue import Catalogue, CatalogueBuilder, read_cells, read_json, read_triples


def read(path: Path, builder: CatalogueBuilder) -> Catalogue:
    """The catalogue in the folder `path`.

    Raises:
        CatalogueError: items.jsonl or triples.tsv is missing.
    """
    file = path / "items.jsonl"
    for number, row in read_json(file, builder):
        _item(file, number, row, builder)
    read_triples(path / "triples.tsv", builder, None)
    kept_back = sorted(path.glob("triples-*.tsv"))
    for split_file in kept_back:
        read_triples(split_file, builder, split_file.stem.removeprefix("triples-"))
    if (path / "properties.tsv").exists():
        _groups(path / "properties.tsv", builder)
    return builder.catalogue(brings_splits=bool(kept_back))


def _item(file: Path, number: int, row: dict[str, Any], builder: CatalogueBuilder) -> None:
    fields = {"title": None, "category": None} | row
    id, name = str(fields.pop("id", "") or ""), fields.pop("image", None)
    picture_file = file.parent / "images" / name if name else None
    picture = picture_file.read_bytes() if picture_file and picture_file.is_file() else None
    if name and picture is None:
        builder.quarantine.part(file, number, f"item {id}: images/{name} is missing, the item went in without")
    builder.item(file, number, id, picture, **fields)


def _groups(file: Path, builder: CatalogueBuilder) -> None:
    for number, (property, group) in read_cells(file, builder, ("property", "group")):
        if property and group:
            builder.rows += 1
            builder.groups[property] = group
        else:
            builder.refuse(file, number, f"expected property and group, got {property!r}, {group!r}")
