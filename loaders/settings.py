"""TOML into frozen dataclasses, which say what a section may hold: anything else is refused by name."""

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from loaders.catalogue import CatalogueError

Settings = TypeVar("Settings")
WORDS = {str: "text", bool: "true or false", float: "a number", int: "a whole number"}


def load(file: Path, of: Callable[[dict[str, Any]], Settings]) -> Settings:
    """What `of` makes of a TOML file.

    Raises:
        CatalogueError: naming the file and what is wrong in it.
    """
    try:
        return of(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # CatalogueError is one, and so are TOML's and UTF-8's
        raise CatalogueError(f"{file}: {error}") from error


def section(kind: type[Settings], name: str, table: Any) -> Settings:
    """A dataclass from a section. Texts may be empty nowhere; where a list is expected, one text alone will do.

    Raises:
        CatalogueError: an entry that is unknown, missing or of another type.
    """
    if not isinstance(table, dict):
        raise CatalogueError(f"{name}: expected a section (got {table!r:.60})")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in table if key not in known]
    if unknown:
        raise CatalogueError(f"{name}: unknown {', '.join(unknown)} (known: {', '.join(known)})")
    needed = [key for key, entry in known.items() if entry.default is entry.default_factory is MISSING]
    if lacking := [key for key in needed if key not in table]:
        raise CatalogueError(f"{name}: {', '.join(lacking)} must be named")
    hints = get_type_hints(kind)
    return kind(**{key: _typed(f"{name}: {key}", hints[key], value) for key, value in table.items()})


def _typed(name: str, kind: Any, value: Any) -> Any:
    arguments = get_args(kind)
    if is_dataclass(kind):
        return section(kind, name, value)  # type: ignore[arg-type]
    if get_origin(kind) is UnionType:  # X | None: TOML has no null
        return _typed(name, arguments[0], value)
    if get_origin(kind) is tuple:
        parts = (
            [value]
            if isinstance(value, str) and arguments[0] is str
            else _checked(name, "a list", value, isinstance(value, list))
        )
        return tuple(_typed(name, arguments[0], part) for part in parts)
    if get_origin(kind) is dict:
        entries = _checked(name, "a section", value, isinstance(value, dict))
        return {key: _typed(f"{name}: {key}", arguments[1], part) for key, part in entries.items()}
    number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    return _checked(name, WORDS[kind], value, (isinstance(value, kind) or number) and value != "")


def _checked(name: str, expected: str, value: Any, good: bool) -> Any:
    if not good:
        raise CatalogueError(f"{name}: expected {expected} (got {value!r:.60})")
    return value
