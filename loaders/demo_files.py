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
        for number, (property, group) in read_cells(path / "properties.tsv", builder, ("property", "group")):
            builder.property_group(path / "properties.tsv", number, property, group)
    return builder.catalogue(brings_splits=bool(kept_back))


def _item(file: Path, number: int, row: dict[str, Any], builder: CatalogueBuilder) -> None:
    fields = {"title": None, "category": None} | row
    id, name = fields.pop("id", None), fields.pop("image", None)
    photograph = (lambda: (file.parent / "images" / name).read_bytes()) if name else None
    builder.item(file, number, id, fields, photograph)
