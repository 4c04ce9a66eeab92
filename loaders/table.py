"""Any table, with a mapping in TOML that says which of its columns are what. In it our names stand left, those of the
file's columns right:

    separator = ";"                  # of .csv and .tsv, if another than , and tab; quoted = false: quotes are text;
                                     # columns = ["sku", "name"]: the files have no header
    empty = ["NA", "-"]              # cells that say nothing, besides blank ones

    [items]                          # a row is an item; the same row again is no harm
    files = "products-*.csv"         # beside PATH or in it; without it: PATH itself, or all tables in it
    id = "sku"                       # the only one that must be there
    title = "name"
    category = "type"
    image = "photo"                  # a file's name in one of `images`; in Parquet also the bytes
    images = ["photos", "more.zip"]  # folders and archives; without `image` the file is called like the id
    fields = {description = "text"}  # further fields of the item
    numbers = {price = "price_eur"}  # the same, as numbers
    [items.properties]               # wide: each column is a property
    colour = "Colour"
    tag = ["tag 1", "tag 2"]

    [triples]                        # long: a row is a fact, or several of one property
    files = "facts.parquet"
    item = "sku"
    property = "attribute"
    value = "value"

    [several]                        # properties whose cells hold several values: what stands between, or "json"
    tag = "|"

A cell is taken as it is, but for white space around the parts of a cell of several values. Lists in JSON Lines and
Parquet are several values. An item with a cell that is no value goes in without it, which the quarantine says.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from glob import glob
from pathlib import Path
from typing import Any

from loaders.catalogue import Catalogue, CatalogueBuilder, CatalogueError, is_text
from loaders.photographs import Photographs
from loaders.rows import Layout, read_rows, table_files
from loaders.settings import section

JSON = "json"
OURS = ("id", "title", "category", "image", "ord", "first")
"""Names that no further field can have."""
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
Columns = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ItemColumns:
    """Section [items]."""

    id: str
    files: str | None = None
    title: str | None = None
    category: str | None = None
    image: str | None = None
    images: tuple[str, ...] = ()
    fields: Columns = field(default_factory=dict)
    numbers: Columns = field(default_factory=dict)
    properties: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.fields, *self.numbers):
            if not _FIELD.fullmatch(name) or name.lower() in OURS:
                raise CatalogueError(
                    f"items: a further field is called by letters, digits and underscores, and not {', '.join(OURS)} "
                    f"(got {name!r})"
                )
        twice = sorted(self.fields.keys() & self.numbers.keys())
        if twice:
            raise CatalogueError(f"items: {', '.join(twice)} stands in fields and in numbers")

    @property
    def columns(self) -> list[str]:
        """All that the file must have."""
        named = [name for name in (self.id, self.title, self.category, self.image) if name is not None]
        wide = [column for columns in self.properties.values() for column in columns]
        return [*named, *self.fields.values(), *self.numbers.values(), *wide]


@dataclass(frozen=True, kw_only=True)
class TripleColumns:
    """Section [triples]."""

    item: str
    property: str
    value: str
    files: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A whole mapping."""

    items: ItemColumns
    triples: TripleColumns | None = None
    several: Columns = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    separator: str | None = None
    quoted: bool = True
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise CatalogueError(f"mapping: separator: expected one character (got {self.separator!r})")

    @property
    def layout(self) -> Layout:
        return Layout(separator=self.separator, quoted=self.quoted, columns=self.columns)

    def cell(self, row: dict[str, Any], column: str | None) -> Any:
        """What a row says in a column; None where it says nothing."""
        cell = None if column is None else row.get(column)
        if isinstance(cell, str):
            return None if not cell or cell.isspace() or cell in self.empty else cell
        return None if isinstance(cell, float) and math.isnan(cell) else cell

    def values(self, row: dict[str, Any], column: str, property: str) -> list[str]:
        """The values of a cell.

        Raises:
            ValueError: it holds something else.
        """
        cell, between = self.cell(row, column), self.several.get(property)
        if isinstance(cell, str) and between == JSON:
            cell = _list(cell)
        elif isinstance(cell, str) and between:
            cell = [part.strip() for part in cell.split(between)]
        if isinstance(cell, list):
            return [text_of(part) for part in cell if part is not None and part != ""]
        return [] if cell is None else [text_of(cell)]


def mapping_of(table: dict[str, Any]) -> Mapping:
    """A mapping from its TOML.

    Raises:
        CatalogueError: an entry that is unknown, missing or of another type.
    """
    return section(Mapping, "mapping", table)


def read(path: Path, builder: CatalogueBuilder, mapping: Mapping) -> Catalogue:
    """The catalogue in one table, or in a folder of them.

    Raises:
        CatalogueError: a file that is missing or no table, or that lacks a column which the mapping names.
    """
    base = path if path.is_dir() else path.parent
    items, triples = mapping.items, mapping.triples
    photographs = Photographs([base / place for place in items.images or ["."]])
    for file in _files(path, base, items.files):
        for number, row in read_rows(file, builder, items.columns, mapping.layout):
            _item(file, number, row, builder, mapping, photographs)
    if triples is not None:
        columns = (triples.item, triples.property, triples.value)
        for file in _files(path, base, triples.files):
            for number, row in read_rows(file, builder, columns, mapping.layout):
                _triples(file, number, row, builder, mapping, triples)
    return builder.catalogue(brings_splits=False)


def _files(path: Path, base: Path, pattern: str | None) -> list[Path]:
    if pattern is None:
        return table_files(path)
    names = sorted(glob(pattern, root_dir=base))
    if not names:
        raise CatalogueError(f"{base / pattern} is missing")
    return [file for name in names for file in table_files(base / name)]


def _item(
    file: Path, number: int, row: dict[str, Any], builder: CatalogueBuilder, mapping: Mapping, photographs: Photographs
) -> None:
    items = mapping.items
    try:
        ours = {name: _text_or_none(mapping.cell(row, getattr(items, name))) for name in ("title", "category")}
        ours |= {name: _scalar(mapping.cell(row, column)) for name, column in items.fields.items()}
        ours |= {name: _number(name, mapping.cell(row, column)) for name, column in items.numbers.items()}
    except ValueError as error:
        builder.refuse(file, number, str(error))
        return
    id = mapping.cell(row, items.id)
    id = int(id) if isinstance(id, float) and id.is_integer() else id  # pandas makes floats of integers and gaps
    pairs, refused = _pairs(row, mapping)
    photograph = _photograph(id, mapping.cell(row, items.image), items, photographs)
    if builder.item(file, number, id, ours, photograph, pairs):
        for reason in refused:
            builder.quarantine.part(file, number, f"item {id} went in without a value: {reason}")


def _pairs(row: dict[str, Any], mapping: Mapping) -> tuple[list[tuple[str, str]], list[str]]:
    """(property, value) of a wide row, and what is wrong with cells that hold no value."""
    pairs, refused = [], []
    for property, columns in mapping.items.properties.items():
        for column in columns:
            try:
                pairs += [(property, value) for value in mapping.values(row, column, property)]
            except ValueError as error:
                refused.append(f"column {column}: {error}")
    return pairs, refused


def _photograph(id: object, cell: Any, items: ItemColumns, photographs: Photographs) -> Callable[[], bytes] | None:
    if isinstance(cell, bytes):
        return lambda: cell
    name = cell if items.image else photographs.name_of(str(id)) if items.images else None
    return None if name is None else lambda: photographs.named(text_of(name))


def _triples(
    file: Path,
    number: int,
    row: dict[str, Any],
    builder: CatalogueBuilder,
    mapping: Mapping,
    columns: TripleColumns,
) -> None:
    try:
        item, property = (_text_or_none(mapping.cell(row, name)) for name in (columns.item, columns.property))
        values = mapping.values(row, columns.value, property or "")
    except ValueError as error:
        builder.refuse(file, number, str(error))
    else:
        builder.triples_of_row(file, number, item or "", property or "", values)


def _text_or_none(cell: Any) -> str | None:
    return None if cell is None else text_of(cell)


def text_of(cell: Any) -> str:
    """A cell as text: 7.0 is 7, dates as ISO 8601 has them.

    Raises:
        ValueError: it is neither text nor a number nor a date.
    """
    if isinstance(cell, str) and is_text(cell):
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, date):  # a datetime is one
        return cell.isoformat()
    if isinstance(cell, int | Decimal) or (isinstance(cell, float) and math.isfinite(cell)):
        return str(cell)
    raise ValueError(f"expected text, a number or true/false, got {cell!r:.60}")


def _scalar(cell: Any) -> Any:
    """A field as a store may hold it; what none can hold is for the builder to refuse."""
    if isinstance(cell, Decimal):
        return float(cell)
    return cell.isoformat() if isinstance(cell, date) else cell


def _number(name: str, cell: Any) -> Any:
    if not isinstance(cell, str):
        return _scalar(cell)
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"field {name}: expected a number, got {cell!r:.60}")
    return float(cell) if any(character in cell for character in ".eE") else int(cell)


def _list(cell: str) -> list[Any]:
    try:
        found = json.loads(cell)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list):
        raise ValueError(f"expected a JSON list, got {cell!r:.60}")
    return found
