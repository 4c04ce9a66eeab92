"""`k3m review STORE accept|reject --item ID --property P --value V [--run R]`: say what of the proposals is right; or
with `--file FILE`, of many at once. `k3m review STORE apply`: what was accepted becomes a fact of the graph.

FILE is CSV or Parquet with columns item, property, value, and run where one run's proposals alone are meant.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro
from tyro.conf import Positional, arg

import graphstore
from graphstore import Store
from graphstore.predictions import Verdict

VERDICTS: dict[str, Verdict] = {"accept": "accepted", "reject": "rejected"}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Accept or reject what k3m complete --write proposed, or make training triples of what was accepted."""

    store: Annotated[Positional[str], arg(metavar="STORE")]
    """A Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    action: Annotated[Positional[Literal["accept", "reject", "apply"]], arg(metavar="{accept,reject,apply}")]
    """What is said of proposals; it takes the place of what was said before. apply: whatever is accepted by now becomes
    a training triple with source "k3m:RUN", and what was rejected after that goes again."""
    item: str | None = None
    """The proposal's item."""
    property: str | None = None
    """The proposal's property."""
    value: str | None = None
    """The proposal's value."""
    file: Path | None = None
    """Instead of these three: a table of proposals (.csv, .parquet) with columns item, property, value and, if need be,
    run."""
    run: str | None = None
    """The run that proposed; all that did by default."""


def proposals(arguments: Arguments) -> pd.DataFrame:
    """item, property, value and run, as the words or the file say.

    Raises:
        ValueError: where neither or both name proposals, or the file is of another kind.
    """
    one = (arguments.item, arguments.property, arguments.value)
    if arguments.file is None:
        if None in one:
            raise ValueError("name a proposal by --item, --property and --value, or many by --file")
        rows = pd.DataFrame([one], columns=["item", "property", "value"])
    else:
        if one != (None, None, None):
            raise ValueError("--file takes the place of --item, --property and --value")
        rows = _read(arguments.file)
    if arguments.run is None:
        return rows
    if "run" in rows:
        raise ValueError(f"{arguments.file} has a column run: leave --run out")
    return rows.assign(run=arguments.run)


def _refuse_proposals(arguments: Arguments) -> None:
    named = [name for name in ("item", "property", "value", "file", "run") if getattr(arguments, name) is not None]
    if named:
        raise ValueError(f"apply is of everything that is accepted: leave --{', --'.join(named)} out")


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)  # NA is a value like any other
        return rows.assign(run=rows["run"].replace("", None)) if "run" in rows else rows
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    raise ValueError(f"{path}: a table of proposals is .csv or .parquet")


def _apply(store: Store) -> str:
    done = store.apply_reviews()
    return (
        f"{done.added} accepted became triples, {done.there} were there, {done.removed} rejected were taken out, "
        f"{done.contradicted} contradicted left alone (data version {done.data_version})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m review")
    if arguments.action == "apply":
        _refuse_proposals(arguments)
        with graphstore.open_existing(arguments.store) as store:
            print(f"{store.location}: {_apply(store)}")
        return 0
    rows, verdict = proposals(arguments), VERDICTS[arguments.action]
    with graphstore.open_existing(arguments.store) as store:
        changed = store.review(rows, verdict)
        print(f"{store.location}: {changed} changed to {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
