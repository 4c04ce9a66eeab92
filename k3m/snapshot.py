"""`k3m snapshot STORE DIR`: a store's training data as memory-mapped files; `graphstore.open(DIR)` reads them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

import graphstore


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write a store's training data as files that need no database."""

    store: Annotated[Positional[str], arg(metavar="STORE")]
    """A Ladybug file, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database (password:
    K3M_NEO4J_PASSWORD)."""
    directory: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the snapshot."""
    items: int | None = None
    """Only so many items, the first by a hash of their ids, with their triples: to try settings on less."""

    def __post_init__(self) -> None:
        if self.items is not None and self.items < 1:
            raise ValueError(f"--items must be at least 1 (got {self.items})")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m snapshot")
    with graphstore.open(arguments.store) as store:
        graphstore.write_snapshot(store, arguments.directory, items=arguments.items)
    with graphstore.open(arguments.directory) as snapshot:
        print(
            f"{arguments.directory}: {snapshot.num_items} items, {snapshot.num_training_triples} training triples, "
            f"data version {snapshot.data_version}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
