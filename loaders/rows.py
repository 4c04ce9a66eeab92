"""Rows of any table: CSV, TSV, JSON Lines (all gzip by a further ending .gz) and Parquet, each with the number it has
in its file.

The number is that of the line which the row begins on (the header of a CSV is line 1), in Parquet that of the row,
from 1. A row that cannot be taken apart is set aside: no UTF-8, more or fewer cells than columns, a quote that is not
closed, a cell of more than 131,072 characters, no JSON object.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from loaders.catalogue import CatalogueBuilder, CatalogueError, read_json

Row: TypeAlias = tuple[int, dict[str, Any]]
"""Number and cells by column; text in CSV, whatever the file holds in JSON Lines and Parquet."""
DELIMITED = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
ENDINGS = (*DELIMITED, *JSON_LINES, ".parquet")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How delimited text is to be read."""

    separator: str | None = None
    """Between cells; None: the comma of .csv, the tab of .tsv."""
    quoted: bool = True
    """Whether cells may stand in double quotes, and hold separators and newlines then."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a file that has no header."""


def ending(file: Path) -> str:
    """Of a file's name, in small letters and less .gz."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def table_files(place: Path) -> list[Path]:
    """The file, or those of a folder that end like a table, by name.

    Raises:
        CatalogueError: there is none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise CatalogueError(f"{place} is missing")
    found = sorted(file for file in place.iterdir() if file.is_file() and ending(file) in ENDINGS)
    if not found:
        raise CatalogueError(f"{place} holds no file that ends in {', '.join(ENDINGS)} (and .gz)")
    return found


def read_rows(file: Path, builder: CatalogueBuilder, columns: Collection[str], layout: Layout) -> Iterator[Row]:
    """Every row that can be taken apart.

    Raises:
        CatalogueError: naming the file: it is missing or no table, it lacks one of `columns`, or has one twice.
    """
    kind = ending(file)
    if not file.is_file():
        raise CatalogueError(f"{file} is missing")
    if kind in DELIMITED:
        return _read_delimited(file, builder, columns, layout)
    if kind in JSON_LINES:
        return _read_json_lines(file, builder, columns)
    if kind == ".parquet":
        return _read_parquet(file, builder, columns)
    raise CatalogueError(f"{file}: expected a name that ends in {', '.join(ENDINGS)} (and .gz)")


def open_bytes(file: Path) -> IO[bytes]:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def _read_delimited(file: Path, builder: CatalogueBuilder, columns: Collection[str], layout: Layout) -> Iterator[Row]:
    with open_bytes(file) as stream:
        reader = csv.reader(
            _lines(stream, file),
            delimiter=layout.separator or DELIMITED[ending(file)],
            quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
            strict=True,  # a quote that is never closed is an error, not one cell up to the end
        )
        header = _header(file, list(layout.columns) or _first(file, reader), columns)
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
                reason = _wrong(cells, len(header))
            except StopIteration:
                return
            except csv.Error as error:
                upto = f" (up to line {reader.line_num})" if reader.line_num > number else ""
                reason = f"expected {len(header)} columns{upto}: {error}"
            builder.read += 1
            if reason:
                builder.refuse(file, number, reason)
            else:
                yield number, dict(zip(header, cells, strict=True))


def _lines(stream: IO[bytes], file: Path) -> Iterator[str]:
    """Split at newlines alone, as editors count them; bytes that are no UTF-8 come through, to be found in a row."""
    for number, line in enumerate(tqdm(stream, desc=file.name, unit=" rows", mininterval=0.5)):
        text = line.decode("utf-8", "surrogateescape")
        yield text if number else text.removeprefix("\ufeff")  # a byte order mark is no part of a cell


def _first(file: Path, reader: Any) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise CatalogueError(f"{file}: no header that can be read: {error}") from error
    return [name.strip() for name in header]


def _header(file: Path, header: list[str], columns: Collection[str]) -> list[str]:
    _require_columns(file, columns, header)
    twice = sorted(name for name, times in Counter(header).items() if times > 1 and name in columns)
    if twice:
        raise CatalogueError(f"{file} has the column {', '.join(twice)} more than once")
    return header


def _wrong(cells: list[str], width: int) -> str | None:
    try:
        for cell in cells:
            cell.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return f"expected UTF-8: {error}"
    return None if len(cells) == width else f"expected {width} columns, got {len(cells)}"


def _read_json_lines(file: Path, builder: CatalogueBuilder, columns: Collection[str]) -> Iterator[Row]:
    """A column may be missing from a row, not from all of them."""
    seen: dict[str, None] = {}
    for number, row in read_json(file, builder):
        seen.update(dict.fromkeys(row))
        yield number, row
    _require_columns(file, columns, list(seen))


def _read_parquet(file: Path, builder: CatalogueBuilder, columns: Collection[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(file) as table:
            _require_columns(file, columns, table.schema_arrow.names)
            number = 0
            for batch in tqdm(table.iter_batches(batch_size=10_000), desc=file.name, unit=" batches", mininterval=0.5):
                for row in batch.to_pylist():
                    number += 1
                    builder.read += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{file} cannot be read as Parquet: {error}") from error


def _require_columns(file: Path, wanted: Collection[str], there: list[str]) -> None:
    missing = [name for name in dict.fromkeys(wanted) if name not in there]
    if missing:
        raise CatalogueError(f"{file} has no column {', '.join(map(repr, missing))} (columns: {', '.join(there)})")
