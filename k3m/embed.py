"""`k3m embed --run RUN --store STORE`: write one vector an item, c*, into a store, with its run and data version.

Items whose vectors are of this model and of the store's data version are passed over, so that the same again goes on
where it was cut off. Vectors of another model go first: two models' cannot be compared.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

import graphstore
import k3m
from graphstore import Store
from k3m.run import Run

TO_DO = (
    "MATCH (i:Item) WHERE i.embedding IS NULL OR coalesce(i.embedding_model, '') <> $model "
    "OR coalesce(i.embedding_version, '') <> $version RETURN i.ord AS ord ORDER BY ord"
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write one vector an item into a store, in the place of another model's; k3m similar answers from them."""

    run: Path
    """Folder of the run (python -m k3m.train made it)."""
    store: str
    """A Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD), where an index is made."""


def embed(store: Store, run: Run) -> int:
    """Write the vectors that are lacking or of other data; how many."""
    version = store.data_version
    items = store.query(TO_DO, model=run.fingerprint, version=str(version))["ord"].to_numpy(dtype=np.int64)
    parts = ((part.index.tolist(), part.to_numpy()) for part in run.vectors(store, items, progress=True))
    return store.write_embeddings(parts, run=run.name, model=run.fingerprint, data_version=version)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m embed")
    run = k3m.load(arguments.run)
    with graphstore.open_existing(arguments.store) as store:
        written = embed(store, run)
        print(
            f"{store.location}: {written} vectors written, {store.num_items - written} were there "
            f"(run {run.name}, data version {store.data_version})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
