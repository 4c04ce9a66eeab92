"""`k3m similar STORE ITEM [-k 10]`: the items whose vectors are nearest to an item's, as `k3m embed` wrote them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

import graphstore
from k3m.query import table


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Print the items most like an item, by the vectors that k3m embed wrote: cosine, the nearest first."""

    store: Annotated[Positional[str], arg(metavar="STORE")]
    """A Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    item: Annotated[Positional[str], arg(metavar="ITEM")]
    """Its id."""
    k: Annotated[int, arg(aliases=["-k"])] = 10
    """How many."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m similar")
    with graphstore.open(arguments.store) as store:
        print(table(store.similar(arguments.item, arguments.k)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
