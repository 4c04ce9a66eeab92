"""What every source gives: a catalogue's items, triples and properties, its bad rows set aside.

A `CatalogueBuilder` takes rows one by one with the file and line that they stand on. Of a row that comes twice with
the same content one is kept; of one that comes again with other content the first. Each row that was read is loaded,
repeated, set aside or over the limit, and `catalogue` refuses to go on where these do not add up.
"""

import gzip
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from graphstore import ImagePack
from graphstore.tables import MAX_KEY_BYTES
from loaders.quarantine import Quarantine

Key = TypeVar("Key")
Content = TypeVar("Content")
Pairs = Sequence[tuple[str, str]]


class CatalogueError(ValueError):
    """Files that are no catalogue of the source named."""


@dataclass(frozen=True)
class RowCounts:
    """Rows read, by what became of them. `repeated` rows said again what another had said; `over_limit` ones are about
    items after the first N. `repeated_pairs` are no rows: a row of pairs that says one twice."""

    read: int
    loaded: int
    repeated: int
    set_aside: int
    over_limit: int
    repeated_pairs: int


@dataclass(frozen=True)
class Catalogue:
    """items (id, title, category, image and more), triples (item, property, value, source, split), properties (name,
    group)."""

    items: pd.DataFrame
    triples: pd.DataFrame
    properties: pd.DataFrame
    rows: RowCounts
    brings_splits: bool
    merged: int = 0
    """Triples that normalisation made the same as another."""


@dataclass
class CatalogueBuilder:
    """Collects a catalogue.

    Args:
        source: written on every triple.
        images: takes the photographs' bytes.
        limit: items taken (None: all of them).
    """

    source: str
    images: ImagePack
    quarantine: Quarantine
    limit: int | None = None
    read: int = 0
    """Rows read; counted by what reads them, apart from what becomes of them."""
    loaded: int = 0
    repeated: int = 0
    over_limit: int = 0
    repeated_pairs: int = 0
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    triples: dict[tuple[str, str, str], str | None] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    _contents: dict[str, object] = field(default_factory=dict)
    _styles: dict[str, str] = field(default_factory=dict)
    _kinds: dict[str, str] = field(default_factory=lambda: {"title": "text", "category": "text"})
    _passed_over: set[str] = field(default_factory=set)

    def item(
        self,
        file: Path,
        line: int,
        id: object,
        fields: dict[str, Any],
        photograph: Callable[[], bytes] | None = None,
        pairs: Pairs = (),
    ) -> bool:
        """Take an item, with the triples that stand on its row; False where this row is not in the catalogue after it.

        Args:
            fields: empty text and NaN are null.
            photograph: reads the bytes; not called for an item over the limit.
        """
        id = str(id) if isinstance(id, int) and not isinstance(id, bool) else id
        if reason := _id_refusal(id):
            return self.refuse(file, line, reason)
        assert isinstance(id, str)
        if self.limit is not None and len(self.items) >= self.limit and id not in self.items:
            self._passed_over.add(id)
            self.over_limit += 1
            return False
        row = {name: None if value == "" or value != value else value for name, value in fields.items()}
        if reason := self._field_refusal(row):
            return self.refuse(file, line, reason)
        row["image"], problem = self._photograph(photograph)
        new = id not in self.items
        if not self.take(file, line, self._contents, id, (row, tuple(pairs)), f"item {id}"):
            return False
        if problem:
            self.quarantine.part(file, line, f"item {id} went in without its image: {problem}")
        if new:
            self.items[id] = row
            self._take_pairs(id, pairs)
        return True

    def triple(self, file: Path, line: int, item: str, property: str, value: str, split: str | None = None) -> bool:
        """Take a triple that has a row of its own; False where it is not in the catalogue after that."""
        if not self._may_hold(file, line, item, property, value):
            return False
        held = self.triples.get((item, property, value), split)
        if held != split:
            there, here = held or "training", split or "training"
            reason = f"<{item}, {property}, {value}> stands in split {there} already, here in {here}"
            return self.refuse(file, line, reason)
        return self.take(file, line, self.triples, (item, property, value), split, "triple")

    def triples_of_row(self, file: Path, line: int, item: str, property: str, values: Sequence[str]) -> bool:
        """Take a row that names several values, all of them for training; False where they are not in the catalogue
        after that."""
        if not all(self._may_hold(file, line, item, property, value) for value in values or [""]):
            return False
        distinct = dict.fromkeys((item, property, value) for value in values)
        self.repeated_pairs += len(values) - len(distinct)
        if distinct.keys() <= self.triples.keys():
            self.repeated += 1
        else:
            self.loaded += 1
        self.triples.update(dict.fromkeys(distinct))
        return True

    def style(self, file: Path, line: int, item: str, group: str) -> bool:
        """Take an item's style group that has a row of its own, after the items."""
        if not (item and group):
            return self.refuse(file, line, f"expected item and group, got {item!r}, {group!r}")
        if not self.knows(file, line, item):
            return False
        return self.take(file, line, self._styles, item, group, f"the group of item {item}")

    def property_group(self, file: Path, line: int, property: str, group: str) -> bool:
        """Take a property's group."""
        if not (property and group):
            return self.refuse(file, line, f"expected property and group, got {property!r}, {group!r}")
        return self.take(file, line, self.groups, property, group, f"the group of property {property}")

    def refuse(self, file: Path, line: int, reason: str) -> bool:
        """Set a row aside: False."""
        self.quarantine.row(file, line, reason)
        return False

    def take(self, file: Path, line: int, held: dict[Key, Content], key: Key, content: Content, what: str) -> bool:
        """Count a row: keep what is new, of what is there already say so; False where it has other content."""
        if key not in held:
            held[key] = content
            self.loaded += 1
        elif held[key] == content:
            self.repeated += 1
        else:
            return self.refuse(file, line, f"{what} stands in the catalogue already, with other content")
        return True

    def knows(self, file: Path, line: int, item: str) -> bool:
        """Whether a row's item is in the catalogue; otherwise the row is counted as over the limit or set aside."""
        if item in self._passed_over:
            self.over_limit += 1
            return False
        return item in self.items or self.refuse(file, line, f"item {item} is not in the catalogue")

    def catalogue(self, brings_splits: bool) -> Catalogue:
        """What was collected.

        Raises:
            CatalogueError: there is no item in it.
        """
        set_aside = self.quarantine.set_aside
        if not self.items:
            raise CatalogueError(f"no item could be read as {self.source}: {set_aside} rows were set aside")
        rows = RowCounts(self.read, self.loaded, self.repeated, set_aside, self.over_limit, self.repeated_pairs)
        assert rows.read == rows.loaded + rows.repeated + rows.set_aside + rows.over_limit, rows
        for item, group in self._styles.items():
            self.items[item]["group"] = group
        items = pd.DataFrame([{"id": id} | row for id, row in self.items.items()], dtype=object)
        triples = pd.DataFrame(list(self.triples), columns=["item", "property", "value"], dtype=object)
        splits = pd.Series(list(self.triples.values()), dtype=object)
        properties = pd.DataFrame(list(self.groups.items()), columns=["name", "group"], dtype=object)
        whole = triples.assign(source=self.source, split=splits)
        return Catalogue(items.where(items.notna(), None), whole, properties, rows, brings_splits)

    def _may_hold(self, file: Path, line: int, item: str, property: str, value: str) -> bool:
        if not (item and property and value):
            reason = f"expected item, property and value, got {item!r}, {property!r}, {value!r}"
            return self.refuse(file, line, reason)
        if len(property.encode()) > MAX_KEY_BYTES:
            return self.refuse(file, line, f"property of more than {MAX_KEY_BYTES} bytes: {property[:40]}...")
        return self.knows(file, line, item)

    def _take_pairs(self, id: str, pairs: Pairs) -> None:
        distinct = dict.fromkeys((id, property, value) for property, value in pairs)
        self.triples.update(dict.fromkeys(distinct))
        self.repeated_pairs += len(pairs) - len(distinct)

    def _field_refusal(self, row: dict[str, Any]) -> str | None:
        """A column of the store holds one kind of value: the one that the first row has."""
        for name, value in row.items():
            if value is None:
                continue
            kind = _kind(value)
            expected = self._kinds.get(name, "text, a number or true/false" if kind is None else kind)
            if kind != expected:
                return f"field {name}: expected {expected}, got {value!r:.60}"
        self._kinds |= {name: kind for name, value in row.items() if (kind := _kind(value))}
        return None

    def _photograph(self, photograph: Callable[[], bytes] | None) -> tuple[str | None, str | None]:
        """The key of a photograph that decodes, else what is wrong with it."""
        if photograph is None:
            return None, None
        try:
            data = photograph()
            Image.open(io.BytesIO(data)).convert("RGB")
        except UnidentifiedImageError:  # its message holds a memory address, which differs in every run
            return None, "it is in no image format that is known"
        except Exception as error:  # archives and decoders raise what they like for a broken file
            return None, f"{type(error).__name__}: {error}"
        return self.images.add(data), None


def _id_refusal(id: object) -> str | None:
    if not isinstance(id, str) or not id:
        return f"expected an item id, got {id!r:.60}"
    if _kind(id) is None:
        return f"expected an item id, got half a character in {id!r:.60}"
    if len(id.encode()) > MAX_KEY_BYTES:
        return f"item id of more than {MAX_KEY_BYTES} bytes: {id[:40]}..."
    return None


def _kind(value: object) -> str | None:
    """What a store's column would hold; None for what none can: lists, numbers beyond 64 bits, half characters."""
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int):
        return "a number" if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return "a number" if math.isfinite(value) else None
    if isinstance(value, str):
        return "text" if is_text(value) else None
    return None


def is_text(value: object) -> bool:
    """Whether it is text that a store can hold: JSON can name half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_lines(file: Path, builder: CatalogueBuilder, header: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of a text file (gzip by its ending), numbered from 1; one that is no UTF-8 is set aside. A header comes
    with them and does not count as a row.

    Raises:
        CatalogueError: no such file, or a header that is no UTF-8.
    """
    if not file.is_file():
        raise CatalogueError(f"{file} is missing")
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        for number, line in enumerate(tqdm(stream, desc=file.name, unit=" rows", mininterval=0.5), start=1):
            builder.read += not (header and number == 1)
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                if header and number == 1:
                    raise CatalogueError(f"{file}: its header is no UTF-8: {error}") from error
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
