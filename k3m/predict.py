"""`k3m predict --model DIR --items TABLE --out FILE`: what a tuned model (`k3m finetune`) says of new items, or with
`--store` of a store's.

The table (.csv, .tsv, .jsonl or .parquet) has a row an item: id, and where there are any title, image (a file's path,
beside the table), category, and a column a property. FILE (.csv or .parquet) then has, by task: classify id, label,
probability; align id, other, score, same (of the pairs in `--pairs`: two ids a line, tab-separated); answer id,
property, rank, value, score (of the properties in `--ask`).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro

import graphstore
from graphstore import Store
from k3m.new_items import store_of
from k3m.tasks import models
from k3m.tasks.data import COLUMNS, Examples
from k3m.tasks.scoring import Tuned

_READERS: dict[str, Any] = {
    ".csv": pd.read_csv,
    ".tsv": lambda path, **more: pd.read_csv(path, sep="\t", **more),
    ".parquet": lambda path, **_: pd.read_parquet(path),
    ".jsonl": lambda path, **_: pd.read_json(path, lines=True, dtype=False),
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Classes, matches or answers for items that no training has seen."""

    model: Path
    """Folder of the tuned model (python -m k3m.finetune made it)."""
    out: Path
    """Table to write: .csv or .parquet."""
    items: Path | None = None
    """Table of new items."""
    store: str = ""
    """A store whose items are asked about, in the place of a table."""
    pairs: Path | None = None
    """align: the pairs, two ids a line, tab-separated."""
    ask: tuple[str, ...] = ()
    """answer: properties to ask for."""
    top: int = 10
    """answer: values an item and property."""


def predict(tuned: Tuned, source: Store, asked: pd.DataFrame, top: int = 10) -> pd.DataFrame:
    """Of the items (column item), pairs (item, other) or questions (item, property) in `asked`."""
    lacking = [name for name in COLUMNS[tuned.task] if name not in ("label", "value", "split") and name not in asked]
    if lacking:
        raise ValueError(
            f"{tuned.task} asks for the columns {', '.join(lacking)} (got {', '.join(map(str, asked.columns))})"
        )
    examples = Examples(
        tuned.task, asked.reset_index(drop=True).assign(label=0, value="", group=asked["item"].tolist())
    )
    scores = tuned.scores(examples, source)
    if tuned.task == "classify":
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        best = scores.argmax(axis=1)
        label = [tuned.info.classes[number] for number in best]
        share = shares.max(axis=1) / shares.sum(axis=1)
        return pd.DataFrame({"id": examples.table["item"], "label": label, "probability": share})
    if tuned.task == "align":
        found = examples.table[["item", "other"]].rename(columns={"item": "id"})
        return found.assign(score=scores, same=scores >= tuned.threshold)
    return _answers(tuned, examples, scores, top)


def _answers(tuned: Tuned, examples: Examples, scores: np.ndarray, top: int) -> pd.DataFrame:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    row = np.repeat(np.arange(len(order)), order.shape[1])
    values = np.array(tuned.info.answers, dtype=object)[order.ravel()]
    found = examples.table.loc[row, ["item", "property"]].rename(columns={"item": "id"}).reset_index(drop=True)
    rank = np.tile(np.arange(1, order.shape[1] + 1), len(order))
    return found.assign(rank=rank, value=values, score=scores[row, order.ravel()])


def read_items(path: Path) -> pd.DataFrame:
    """The table; images' paths are taken from its folder.

    Raises:
        ValueError: for a file of another kind.
    """
    if path.suffix not in _READERS:
        raise ValueError(f"--items is one of {', '.join(_READERS)} (got {path.name})")
    table = _READERS[path.suffix](path, **({"dtype": str} if path.suffix in (".csv", ".tsv") else {}))
    if "image" in table:
        there = table["image"].notna() & (table["image"].astype(str) != "")
        table["image"] = [
            path.parent / str(name) if own else None for name, own in zip(table["image"], there, strict=True)
        ]
    return table


def _asked(arguments: Arguments, tuned: Tuned, source: Store) -> pd.DataFrame:
    if tuned.task == "align":
        if arguments.pairs is None:
            raise ValueError("a model of alignment needs --pairs FILE: two ids a line, tab-separated")
        return pd.read_csv(arguments.pairs, sep="\t", header=None, names=["item", "other"], dtype=str, quoting=3)
    items = source.items().to_pandas()[["id"]].rename(columns={"id": "item"})
    if tuned.task == "classify":
        return items
    if not arguments.ask:
        raise ValueError("a model of question answering needs --ask PROPERTY ...")
    return items.merge(pd.DataFrame({"property": arguments.ask}), how="cross")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m predict")
    if arguments.out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out is a .csv or a .parquet (got {arguments.out.name})")
    if (arguments.items is None) == (not arguments.store):
        raise ValueError("name a table of items (--items TABLE) or a store (--store STORE), and not both")
    tuned = models.load(arguments.model)
    source = graphstore.open(arguments.store) if arguments.items is None else _new_items(arguments.items, tuned)
    with source:
        found = predict(tuned, source, _asked(arguments, tuned, source), arguments.top)
    write = found.to_csv if arguments.out.suffix == ".csv" else found.to_parquet
    write(arguments.out, index=False)
    print(f"{arguments.out}: {len(found)} rows of {tuned.name}, {tuned.task}")
    return 0


def _new_items(path: Path, tuned: Tuned) -> Store:
    return store_of(read_items(path), tuned.visible)


if __name__ == "__main__":
    sys.exit(main())
