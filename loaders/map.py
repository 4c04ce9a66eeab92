"""`python -m loaders.map FILE [--rows N]`: propose a mapping for a table, by what stands in its columns.

What is printed is TOML, whose comments say why; `loaders.ingest table FILE --mapping MAP.toml` takes it as it stands.
It is a proposal: figures of the first rows and a few names of columns cannot know a catalogue.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import pandas as pd
import tomli_w
import tyro
from tyro.conf import Positional

from graphstore.images import MemoryImages
from loaders.catalogue import CatalogueBuilder, CatalogueError
from loaders.quarantine import Quarantine
from loaders.rows import DELIMITED, Layout, ending, open_bytes, read_rows
from loaders.table import JSON, OURS, text_of

ID = re.compile(r"(^|[\W_])(id|sku|asin|ean|gtin|upc|code|key|item|product)s?$|Id$|编号", re.IGNORECASE)
TITLE = re.compile(r"title|name|标题|名称", re.IGNORECASE)
CATEGORY = re.compile(r"categor|type|class|department|类目|分类", re.IGNORECASE)
PROPERTY = re.compile(r"property|attribute|attr|feature|relation|predicate|key|属性", re.IGNORECASE)
VALUE = re.compile(r"value|object|tail|值", re.IGNORECASE)
PICTURE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TITLED = re.compile(r"((product|item)[\W_]*)?(title|name)|标题|名称", re.IGNORECASE)
DECIMAL = re.compile(r"[+-]?\d+(\.\d{3})*,\d+", re.ASCII)
NOTHING = {"na", "n/a", "#n/a", "nan", "null", "-", "--", "–", "—"}
"""Cells that say nothing, in small letters."""
SEPARATORS = ("|", ";", ",", "，", "、")
UNIQUE = 0.98
"""Of the rows: an id column has as many distinct values; some rows may come twice."""
FEW, SHORT = 0.5, 60
"""A property has at most this share of distinct values, of the cells that are filled, and of this length."""
FACTS = 1.5
"""In a table of facts an item has as many, at least."""
FEW_NUMBERS, FEW_OF_NUMBERS = 0.1, 50
"""The same where all of them are numbers, and how many at most: a size is a value, a price is not."""


@dataclass(frozen=True)
class Arguments:
    """Propose a mapping for a table: TOML for k3m ingest table."""

    file: Positional[Path]
    """CSV, TSV, JSON Lines or Parquet."""
    rows: int = 100_000
    """Look at the first N rows."""


@dataclass(frozen=True)
class Column:
    """A column's cells that say something."""

    name: str
    rows: int
    cells: list[Any]

    @cached_property
    def parts(self) -> list[str] | None:
        """The texts of all values; None where they are none (objects, bytes)."""
        try:
            return [text_of(part) for cell in self.cells for part in (cell if isinstance(cell, list) else [cell])]
        except ValueError:
            return None

    @cached_property
    def between(self) -> str | None:
        """What stands between the values of a cell."""
        texts = self.parts if self.parts and not self.has_lists else []
        if texts and all(_is_list(text) for text in texts):
            return JSON
        return next((separator for separator in SEPARATORS if texts and _parts_recur(texts, separator)), None)

    @cached_property
    def values(self) -> list[str]:
        if self.between == JSON:
            return [str(part) for text in self.parts or [] for part in json.loads(text)]
        if self.between:
            return [part.strip() for text in self.parts or [] for part in text.split(self.between) if part.strip()]
        return self.parts or []

    @cached_property
    def has_lists(self) -> bool:
        return any(isinstance(cell, list) for cell in self.cells)

    @cached_property
    def distinct(self) -> int:
        return len(set(self.values))

    @property
    def is_unique(self) -> bool:
        fractions = self.is_number and not all(value.lstrip("+-").isdecimal() for value in self.values)
        return self.distinct >= UNIQUE * self.rows and not (self.between or self.has_lists or fractions)

    @cached_property
    def is_number(self) -> bool:
        return bool(self.values) and all(
            NUMBER.fullmatch(value) and math.isfinite(float(value)) for value in self.values
        )

    @property
    def is_property(self) -> bool:
        if self.is_number:
            return self.distinct <= min(FEW_NUMBERS * len(self.cells), FEW_OF_NUMBERS)
        return self.distinct <= FEW * len(self.cells) and self.length <= SHORT

    @cached_property
    def length(self) -> float:
        return sum(map(len, self.values)) / max(1, len(self.values))

    def share(self, pattern: re.Pattern[str]) -> float:
        return sum(bool(pattern.search(value)) for value in self.values) / max(1, len(self.values))


@dataclass
class Proposal:
    """A mapping in the making, with a line about each column."""

    mapping: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def items(self) -> dict[str, Any]:
        section: dict[str, Any] = self.mapping.setdefault("items", {})
        return section

    def several(self, property: str, between: str | None) -> str:
        """Note what stands between the values of a property's cells; the words for it."""
        if between is None:
            return ""
        self.mapping.setdefault("several", {})[property] = between
        return f"; several in a cell ({between})"


def propose(file: Path, rows: int) -> str:
    """The mapping as TOML, with comments.

    Raises:
        CatalogueError: no table, or one in which nothing can be told from the other.
    """
    layout, table, refused = _read(file, rows)
    names = [
        name for name in dict.fromkeys(name for row in table for name in row) if name
    ]  # an index of pandas' has none
    next(read_rows(file, _builder(), names, layout), None)  # a column that is there twice cannot be proposed
    proposal = Proposal(_differing(layout, file))
    empty = sorted({cell for row in table for cell in row.values() if _says_nothing(cell)})
    columns = [_column(name, table, empty) for name in names]
    if any(column.is_unique for column in columns):
        proposal.mapping |= {"empty": empty} if empty else {}
        _propose_items(proposal, columns, _id_of(columns), file)
    else:
        _propose_triples(proposal, [_column(name, table) for name in names], table, file)
    return _written(file, len(table), refused, proposal)


def _read(file: Path, rows: int) -> tuple[Layout, list[dict[str, Any]], int]:
    """Rows, read in the way that sets fewest of them aside, and how many those are."""
    separator = _separator(file) if ending(file) in DELIMITED else None
    best = _tried(file, rows, Layout(separator=separator))
    if best[2] and separator:
        best = min(best, _tried(file, rows, replace(best[0], quoted=False)), key=lambda one: one[2])
    if not best[1]:
        raise CatalogueError(f"{file} holds no row that can be read")
    names = list(best[1][0])
    if separator and any(row[name] == name for row in best[1] for name in names):  # the header is a row like others
        best = _tried(file, rows, replace(best[0], columns=tuple(f"column_{n + 1}" for n in range(len(names)))))
    return best


def _tried(file: Path, rows: int, layout: Layout) -> tuple[Layout, list[dict[str, Any]], int]:
    builder = _builder()
    table = [row for _, row in islice(read_rows(file, builder, (), layout), rows)]
    return layout, table, builder.quarantine.set_aside


def _builder() -> CatalogueBuilder:
    """Of nothing: it counts the rows that cannot be read."""
    return CatalogueBuilder("map", MemoryImages(), Quarantine())


def _separator(file: Path) -> str:
    """The one that the header has most of; the usual one where it has none."""
    if not file.is_file():
        raise CatalogueError(f"{file} is missing")
    with open_bytes(file) as stream:
        header = stream.readline().decode("utf-8", "replace")
    usual = DELIMITED[ending(file)]
    return max((usual, ",", ";", "\t", "|"), key=header.count)


def _differing(layout: Layout, file: Path) -> dict[str, Any]:
    usual = Layout(separator=DELIMITED.get(ending(file)))
    return {name: value for name, value in asdict(layout).items() if value != asdict(usual)[name]}


def _column(name: str, table: Sequence[dict[str, Any]], empty: Sequence[str] = ()) -> Column:
    said = [cell for row in table if (cell := row.get(name)) is not None and cell == cell]
    return Column(
        name, len(table), [cell for cell in said if not (isinstance(cell, str) and (not cell.strip() or cell in empty))]
    )


def _says_nothing(cell: Any) -> bool:
    return isinstance(cell, str) and cell.casefold() in NOTHING


def _id_of(columns: Iterable[Column]) -> Column:
    """The column called like an id, else the first without white space, among those that tell the rows apart."""
    unique = [column for column in columns if column.is_unique]
    called = [column for column in unique if ID.search(column.name)]
    short = [column for column in unique if not column.share(re.compile(r"\s"))]
    return next(iter([*called, *short, *unique]))


def _propose_items(proposal: Proposal, columns: Sequence[Column], id: Column, file: Path) -> None:
    """A row is an item: what each column is."""
    items = proposal.items()
    items["id"] = id.name
    proposal.reasons[id.name] = f"the id: {id.distinct} distinct values in {id.rows} rows"
    rest = [column for column in columns if column is not id]
    _propose_image(proposal, rest, file)
    for role, column in (("title", _title_of(rest)), ("category", _category_of(rest))):
        if column is not None and column.name not in proposal.reasons:
            items[role] = column.name
            proposal.reasons[column.name] = f"the {role}: {column.distinct} distinct values in {column.rows} rows"
    for column in rest:
        if column.name not in proposal.reasons:
            proposal.reasons[column.name] = _propose_further(proposal, column)


def _propose_image(proposal: Proposal, columns: Iterable[Column], file: Path) -> None:
    for column in columns:
        if column.cells and all(isinstance(cell, bytes) for cell in column.cells):
            proposal.items()["image"] = column.name
            proposal.reasons[column.name] = "the image's bytes"
            return
        if column.share(PICTURE) >= 0.8 and (places := _places_of(column.values, file.parent)):
            proposal.items().update({"image": column.name} | ({} if places == ["."] else {"images": places}))
            proposal.reasons[column.name] = f"the image, a file in {', '.join(places)}"
            return


def _places_of(names: Sequence[str], base: Path) -> list[str]:
    """Where images lie, if most of some do: beside the table, or in folders and archives there."""
    some = set(names[:: max(1, len(names) // 100)])
    found = {place: some & _held(place, some) for place in [base, *sorted(base.iterdir())]}
    if found[base]:
        return ["."] if len(found[base]) > len(some) / 2 else []
    places = [place for place, held in found.items() if held]
    whole = len(set().union(*found.values())) > len(some) / 2
    return [place.relative_to(base).as_posix() for place in places] if whole else []


def _held(place: Path, names: set[str]) -> set[str]:
    if place.is_dir():
        return {name for name in names if (place / name).is_file()}
    if not is_zipfile(place):
        return set()
    with ZipFile(place) as archive:
        return set(archive.namelist())


def _title_of(columns: Iterable[Column]) -> Column | None:
    """Long, distinct text: called like a title, else the shortest such (a description is longer). One that is called
    just that may come again and hold commas."""
    long = [
        column
        for column in columns
        if ((column.distinct > FEW * column.rows and not column.between) or TITLED.fullmatch(column.name))
        and column.length >= 6
        and not (column.is_number or column.has_lists)
        and column.share(re.compile("^https?://")) + column.share(PICTURE) < 0.5
    ]
    return min(long, key=lambda column: (not TITLE.search(column.name), column.length), default=None)


def _category_of(columns: Iterable[Column]) -> Column | None:
    """Of the columns called like one, the one that tells most apart."""
    called = [column for column in columns if CATEGORY.search(column.name) and column.is_property and column.cells]
    alone = [column for column in called if not (column.between or column.has_lists or column.is_number)]
    return max(alone, key=lambda column: (len(column.cells) > FEW * column.rows, column.distinct), default=None)


def _propose_further(proposal: Proposal, column: Column) -> str:
    """A property or a field; why."""
    figures = f"{column.distinct} distinct values in {len(column.cells)} of {column.rows} rows"
    items = proposal.items()
    if not column.cells:
        return "left out: it is empty"
    if column.parts is None:
        return "left out: its cells are neither text nor numbers"
    if column.is_property or column.between or column.has_lists:
        items.setdefault("properties", {})[column.name] = column.name
        return f"a property: {figures}" + proposal.several(column.name, column.between)
    kind = "numbers" if column.is_number else "fields"
    taken = {*OURS, *(name.lower() for other in ("numbers", "fields") for name in items.get(other, {}))}
    items.setdefault(kind, {})[_field_name(column.name, taken)] = column.name
    return f"a {'number' if column.is_number else 'text'} on the item: {figures}"


def _field_name(column: str, taken: set[str]) -> str:
    """Letters, digits and underscores, as a store's fields are called."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_")
    name = name if name[:1].isalpha() else f"field_{name}".strip("_")
    return next(
        found for number in range(1, 10**6) if (found := name + f"_{number}" * (number > 1)).lower() not in taken
    )


def _propose_triples(proposal: Proposal, columns: Sequence[Column], table: list[dict[str, Any]], file: Path) -> None:
    """A row is a fact: three columns are item, property and value; what an item has but one of is a column of items."""
    whole = [column for column in columns if column.parts is not None and len(column.cells) == column.rows]
    frame = pd.DataFrame({column.name: column.parts for column in whole if not column.has_lists}, dtype=object)
    item, property, value = _roles(frame, file)
    proposal.mapping["triples"] = {"item": item, "property": property, "value": value}
    for name, texts in frame.groupby(property, sort=False)[value]:
        proposal.several(str(name), Column(str(name), len(texts), texts.tolist()).between)
    first = list({row[item]: row for row in reversed(table)}.values())[::-1]
    apart = [str(name) for name in frame if name not in (item, property, value)]
    said_once = [name for name in apart if frame.groupby(item)[name].nunique().max() == 1]
    own = [_column(name, first) for name in (item, *said_once)]
    _propose_items(proposal, own, own[0], file)
    proposal.reasons |= {item: f"the item: {len(first)} distinct values", property: "the property", value: "the value"}
    for column in columns:
        proposal.reasons.setdefault(column.name, "left out: an item has several, or none")


def _roles(frame: pd.DataFrame, file: Path) -> tuple[str, str, str]:
    """Columns of item, property and value: an item comes again and again, the other two vary within it; told by their
    names, else by place and by how many distinct values they have."""
    distinct = {str(name): frame[name].nunique() for name in frame}
    repeated = [name for name, number in distinct.items() if 1 < number <= len(frame) / FACTS]
    called = [name for name in repeated if ID.search(name) and not PROPERTY.search(name)]
    item = next(iter([*called, *repeated]), None)
    varying = [name for name in distinct if item not in (None, name) and frame.groupby(item)[name].nunique().max() > 1]
    properties = [name for name in varying if name in repeated]
    if item is None or len(varying) < 2 or not properties or len(frame.drop_duplicates()) < UNIQUE * len(frame):
        raise CatalogueError(f"{file}: no column tells the rows apart, nor do three as item, property and value")
    property = min(properties, key=lambda name: (not PROPERTY.search(name), distinct[name]))
    varying.remove(property)
    return item, property, max(varying, key=lambda name: (bool(VALUE.search(name)), distinct[name]))


def _is_list(text: str) -> bool:
    try:
        return text.lstrip().startswith("[") and isinstance(json.loads(text), list)
    except ValueError:
        return False


def _parts_recur(texts: Sequence[str], separator: str) -> bool:
    """Whether the cells are combinations of fewer things: a tenth of them or more have several, which come again. A
    comma in numbers may be a decimal one."""
    if separator == "," and all(DECIMAL.fullmatch(text) or NUMBER.fullmatch(text) for text in texts):
        return False
    split = [[part.strip() for part in text.split(separator) if part.strip()] for text in texts]
    several = sum(len(own) > 1 for own in split)
    parts = Counter(part for own in split for part in own)
    return several >= 0.1 * len(texts) and len(parts) <= len(set(texts)) and parts.total() >= 2 * len(parts)


def _written(file: Path, rows: int, refused: int, proposal: Proposal) -> str:
    width = max(map(len, proposal.reasons))
    lines = [
        f"# Proposed for {file.name} by its first {rows} rows" + (f"; {refused} cannot be read" if refused else ""),
        *(f"# {' '.join(name.split()):<{width}}  {reason}" for name, reason in proposal.reasons.items()),
    ]
    return "\n".join(lines) + "\n\n" + tomli_w.dumps(proposal.mapping)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m map")
    if arguments.rows < 1:
        raise ValueError(f"--rows must be at least 1 (got {arguments.rows})")
    print(propose(arguments.file, arguments.rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
