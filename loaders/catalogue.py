"""What every source gives: a catalogue's items, triples and properties, its bad rows set aside.

A `CatalogueBuilder` takes rows one by one with the file and line that they stand on. Of a row that comes twice with
the same content one is kept; of one that comes again with other content the first.
"""

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from graphstore import ImagePack
from loaders.quarantine import Quarantine


class CatalogueError(ValueError):
    """Files that are no catalogue of the source named."""


@dataclass(frozen=True)
class Catalogue:
    """items (id, title, category, image and more), triples (item, property, value, source, split), properties (name,
    group)."""

    items: pd.DataFrame
    triples: pd.DataFrame
    properties: pd.DataFrame
    rows: int
    """Rows read."""
    repeated: int
    """Rows that said again what another had said."""
    brings_splits: bool


@dataclass
class CatalogueBuilder:
    """Collects a catalogue.

    Args:
        source: written on every triple.
        images: takes the photographs' bytes.
        limit: items taken; rows about later ones are not read (None: no limit).
    """

    source: str
    images: ImagePack
    quarantine: Quarantine
    limit: int | None = None
    rows: int = 0
    repeated: int = 0
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    triples: dict[tuple[str, str, str], str | None] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    _passed_over: set[str] = field(default_factory=set)

    def refuse(self, file: Path, line: int, reason: str) -> None:
        """Set a row aside that cannot even be taken apart."""
        self.rows += 1
        self.quarantine.row(file, line, reason)

    def item(self, file: Path, line: int, id: str, picture: bytes | None = None, **fields: Any) -> bool:
        """Take an item; False where it is not in the catalogue after that."""
        if self.limit is not None and len(self.items) >= self.limit and id not in self.items:
            self._passed_over.add(id)
            return False
        self.rows += 1
        if not id:
            self.quarantine.row(file, line, "expected an item id, got none")
            return False
        row = {name: value if value != "" else None for name, value in fields.items()}
        row["image"] = self._picture(file, line, id, picture)
        if self.items.setdefault(id, row) is row:
            return True
        if self.items[id] == row:
            self.repeated += 1
            return True
        self.quarantine.row(file, line, f"item {id} stands in the catalogue already, with other content")
        return False

    def triple(self, file: Path, line: int, item: str, property: str, value: str, split: str | None = None) -> bool:
        """Take a triple that has a row of its own; False where it is set aside."""
        if item in self._passed_over:
            return False
        self.rows += 1
        reason = self._refusal(item, property, value, split)
        if reason:
            self.quarantine.row(file, line, reason)
            return False
        if (item, property, value) in self.triples:
            self.repeated += 1
        self.triples[item, property, value] = split
        return True

    def _refusal(self, item: str, property: str, value: str, split: str | None) -> str | None:
        if not (item and property and value):
            return f"expected item, property and value, got {item!r}, {property!r}, {value!r}"
        if item not in self.items:
            return f"item {item} is not in the catalogue"
        held = self.triples.get((item, property, value), split)
        if held != split:
            there, here = held or "training", split or "training"
            return f"<{item}, {property}, {value}> stands in split {there} already, here in {here}"
        return None

    def _picture(self, file: Path, line: int, id: str, picture: bytes | None) -> str | None:
        """The key of a photograph that decodes."""
        if picture is None:
            return None
        try:
            Image.open(io.BytesIO(picture)).convert("RGB")
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            self.quarantine.part(file, line, f"item {id}: its image does not decode, the item went in without: {error}")
            return None
        return self.images.add(picture)

    def catalogue(self, brings_splits: bool) -> Catalogue:
        items = pd.DataFrame([{"id": id} | row for id, row in self.items.items()])
        if items.empty:
            raise CatalogueError(
                f"no item could be read as {self.source}: {len(self.quarantine.rows)} rows were set aside"
            )
        triples = pd.DataFrame(list(self.triples), columns=["item", "property", "value"], dtype=object)
        splits = pd.Series(list(self.triples.values()), dtype=object)
        properties = pd.DataFrame(list(self.groups.items()), columns=["name", "group"], dtype=object)
        whole = triples.assign(source=self.source, split=splits)
        return Catalogue(_plain(items), whole, properties, self.rows, self.repeated, brings_splits)


def _plain(items: pd.DataFrame) -> pd.DataFrame:
    """Text columns as objects, so that a column without any text is no column of numbers."""
    texts = [name for name in items if items[name].map(lambda cell: cell is None or isinstance(cell, str)).all()]
    return items.astype(dict.fromkeys(texts, object))


def read_lines(file: Path, builder: CatalogueBuilder) -> Iterator[tuple[int, str]]:
    """Lines of a text file (gzip by its ending), numbered from 1; one that is no UTF-8 is set aside.

    Raises:
        CatalogueError: no such file.
    """
    if not file.is_file():
        raise CatalogueError(f"{file} is missing")
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        for number, line in enumerate(tqdm(stream, desc=file.name, unit=" rows", mininterval=0.5), start=1):
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                builder.refuse(file, number, f"expected UTF-8: {error}")


def read_json(file: Path, builder: CatalogueBuilder) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of one JSON object each."""
    for number, line in read_lines(file, builder):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            builder.refuse(file, number, f"expected one JSON object a line: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            builder.refuse(file, number, f"expected one JSON object a line, got {line[:40]}")


def read_cells(file: Path, builder: CatalogueBuilder, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines of these columns, tab-separated without quoting."""
    for number, line in read_lines(file, builder):
        cells = line.split("\t")
        if len(cells) == len(columns):
            yield number, cells
        else:
            builder.refuse(file, number, f"expected {len(columns)} columns ({', '.join(columns)}), got {len(cells)}")


def read_triples(file: Path, builder: CatalogueBuilder, split: str | None) -> None:
    """A file of lines id, property, value, tab-separated without quoting."""
    for number, cells in read_cells(file, builder, ("id", "property", "value")):
        builder.triple(file, number, cells[0], cells[1], cells[2], split)
