"""The mapping file of an adopted graph: which database, which of its rows are items and triples, what is kept back.

TOML, checked whole before the database is asked. A password is nowhere in it: it comes from the environment.
"""

import json
import tomllib
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from graphstore.errors import MappingError
from graphstore.parameters import parameter_names
from graphstore.tables import KEY, PROPERTY_COLUMNS, TRIPLE_COLUMNS

Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class ItemQuery:
    query: str
    columns: dict[str, str]
    """Our field names to the query's columns: id, and any of title, category, image and further fields."""

    def __post_init__(self) -> None:
        _require_columns(self.columns, ("id",))
        _require_parameters("query", self.query, set())


@dataclass(frozen=True, kw_only=True)
class TripleQuery:
    query: str
    """Of all triples; or, where it names $items, of the items with these ids: it is then asked batch by batch."""
    columns: dict[str, str]
    """item, property and value to the query's columns; source, split and original where the graph has them."""

    def __post_init__(self) -> None:
        _require_columns(self.columns, KEY)
        _require_known(self.columns, TRIPLE_COLUMNS)
        _require_parameters("query", self.query, {"items"} if self.streamed else set())

    @property
    def streamed(self) -> bool:
        return "items" in parameter_names(self.query)


@dataclass(frozen=True, kw_only=True)
class PropertyQuery:
    query: str
    columns: dict[str, str]
    """name and group to the query's columns."""

    def __post_init__(self) -> None:
        _require_columns(self.columns, PROPERTY_COLUMNS)
        _require_known(self.columns, PROPERTY_COLUMNS)
        _require_parameters("query", self.query, set())


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    folder: str
    """Where the paths in the items' column image lead from; relative to the mapping file."""


@dataclass(frozen=True, kw_only=True)
class Holdout:
    share: float = 0.0
    """Share of the triples to keep back: half of them for validation, half for test."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise MappingError(f"share must be in [0, 1) (got {self.share})")


@dataclass(frozen=True, kw_only=True)
class GraphMapping:
    """A whole mapping file."""

    database: str
    """neo4j://user@host:port/database, or a Ladybug file, relative to the mapping file."""
    items: ItemQuery
    triples: TripleQuery
    properties: PropertyQuery | None = None
    images: ImageFolder | None = None
    holdout: Holdout = field(default_factory=Holdout)

    def __post_init__(self) -> None:
        if self.holdout.share and "split" in self.triples.columns:
            raise MappingError("[holdout] the triples bring their own splits (columns.split); leave one of the two out")
        if ("image" in self.items.columns) != (self.images is not None):
            raise MappingError("items.columns.image and [images] folder go together")

    def digest(self) -> str:
        """Of the triples' query and columns: with share and seed they decide which triples are kept back."""
        parts = json.dumps([self.triples.query, self.triples.columns], sort_keys=True)
        return blake2b(parts.encode(), digest_size=16).hexdigest()


def load_mapping(path: Path) -> GraphMapping:
    """The mapping in a file.

    Raises:
        MappingError: naming the file, the section and what is wrong there.
    """
    try:
        return _section("", GraphMapping, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, MappingError) as error:  # TOML's errors and UTF-8's are ValueErrors
        raise MappingError(f"{path}: {error}") from error


def _section(name: str, kind: type[Section], table: Any) -> Section:
    prefix = f"[{name}] " if name else ""
    if not isinstance(table, dict):
        raise MappingError(f"{prefix}must be a section")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    if unknown := [key for key in table if key not in known]:  # never with its value, which may be a secret
        secret = "; a password comes from K3M_NEO4J_PASSWORD alone" if "password" in " ".join(unknown).lower() else ""
        raise MappingError(f"{prefix}unknown {', '.join(unknown)} (known: {', '.join(known)}){secret}")
    required = [key for key, entry in known.items() if entry.default is entry.default_factory is MISSING]
    if missing := [key for key in required if key not in table]:
        raise MappingError(f"{prefix}needs {', '.join(missing)}")
    hints = get_type_hints(kind)
    given = {key: _typed(key, hints[key], value) for key, value in table.items()}
    try:
        return kind(**given)
    except MappingError as error:
        raise MappingError(f"{prefix}{error}") from error


def _typed(name: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, UnionType):  # X | None: TOML has no null
        kind = get_args(kind)[0]
    if kind in (ItemQuery, TripleQuery, PropertyQuery, ImageFolder, Holdout):
        return _section(name, kind, value)
    if kind == dict[str, str]:
        if not (isinstance(value, dict) and all(isinstance(column, str) for column in value.values())):
            raise MappingError(f"{name} must be a table of names")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise MappingError(f"{name} must be of type {kind.__name__} (got {type(value).__name__})")
    return value


def _require_known(columns: dict[str, str], known: Sequence[str]) -> None:
    if unknown := [name for name in columns if name not in known]:
        raise MappingError(f"columns: unknown {', '.join(unknown)} (known: {', '.join(known)})")


def _require_columns(columns: AnyMapping[str, str], needed: tuple[str, ...]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise MappingError(f"columns must name {', '.join(missing)}")
    if len(set(columns.values())) < len(columns):
        raise MappingError(f"columns names one column twice: {', '.join(columns.values())}")


def _require_parameters(name: str, query: str, expected: set[str]) -> None:
    if (found := parameter_names(query)) != expected:
        wanted = ", ".join(f"${parameter}" for parameter in expected) or "no parameter"
        raise MappingError(f"{name} takes {wanted} (got {', '.join(f'${one}' for one in sorted(found)) or 'none'})")
