"""`k3m query STORE "MATCH ..." [--param name=value ...]`: print what a Cypher query answers as a table. Reads only."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import tyro
from tyro.conf import Positional, arg

import graphstore


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Print what a Cypher query answers as a table."""

    store: Annotated[Positional[str], arg(metavar="STORE")]
    """A Ladybug file, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database (password:
    K3M_NEO4J_PASSWORD)."""
    cypher: Annotated[Positional[str], arg(metavar="CYPHER")]
    """The query; values come by parameter: MATCH (i:Item {id: $id}) RETURN i.title"""
    param: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE ...")] = ()
    """Its parameters: name=value ..., a value being JSON or else a string; '"7"' is the string 7."""


def parameters(assignments: Sequence[str]) -> dict[str, object]:
    """`name=value` pairs by name.

    Raises:
        ValueError: naming the first that has no `=`, or whose name came before.
    """
    found: dict[str, object] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise ValueError(f"--param takes name=value (got {assignment!r})")
        if name in found:
            raise ValueError(f"--param gives {name} twice")
        found[name] = value_of(value)
    return found


def value_of(text: str) -> object:
    try:
        return json.loads(text, parse_constant=str)  # NaN and Infinity are no JSON
    except json.JSONDecodeError:
        return text


def table(rows: pd.DataFrame) -> str:
    """The rows, whole, in columns, with their number below."""
    shown = rows.astype(object).where(rows.notna(), "")
    lines = shown.to_string(index=False) if len(rows) else "  ".join(map(str, rows.columns))
    return f"{lines}\n({len(rows)} row{'' if len(rows) == 1 else 's'})"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m query")
    bound = parameters(arguments.param)
    with graphstore.open(arguments.store) as store:
        print(table(store.query(arguments.cypher, **bound)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
