"""What a task asks: train, valid and test examples, and what must not be seen because it would tell.

Legend: n examples, k items an example (two of alignment, else one), A answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

from graphstore import Store
from k3m import rng

Task = Literal["classify", "align", "answer"]
Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
COLUMNS: dict[Task, list[str]] = {
    "classify": ["item", "label", "split"],
    "align": ["item", "other", "label", "split"],
    "answer": ["item", "property", "value", "split"],
}
"""Of a task's table, in a file too (tab-separated, no header)."""
ITEM_COLUMNS: dict[Task, list[str]] = {"classify": ["item"], "align": ["item", "other"], "answer": ["item"]}


@dataclass(frozen=True)
class Examples:
    """n examples of one part; rows of a table with a range index.

    `table` has the columns of the task but `split`, and `group`: what is alike lies in one group (a bootstrap draws
    groups). label is a class's number for classify, 0 or 1 for align; answer has property and value instead.
    """

    task: Task
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    @property
    def items(self) -> Shaped[np.ndarray, "n k"]:
        """Ids (str, as objects)."""
        return self.table[ITEM_COLUMNS[self.task]].to_numpy(dtype=object)

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        return self.table["label"].to_numpy(dtype=np.int64)

    @property
    def groups(self) -> Shaped[np.ndarray, " n"]:
        return self.table["group"].to_numpy(dtype=object)

    def take(self, rows: Any) -> "Examples":
        """Those of these rows (places or a mask), in their order."""
        return Examples(self.task, self.table.iloc[rows].reset_index(drop=True))

    def first(self, most: int, *purpose: object) -> "Examples":
        """At most so many of them, drawn once and for all, in the order in which they stand; 0: all."""
        if not most or len(self) <= most:
            return self
        return self.take(np.sort(rng.first(most, len(self), "examples", self.task, *purpose)))


@dataclass(frozen=True)
class TaskData:
    """A task: its examples, and what belongs to it."""

    task: Task
    train: Examples
    valid: Examples
    test: Examples
    classes: tuple[str, ...] = ()
    """classify: the labels by number."""
    hidden_fields: tuple[str, ...] = ()
    """Item fields that tell the label, which no model of the task may see."""
    hidden_properties: tuple[str, ...] = ()
    """Likewise properties."""
    candidates: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["property", "value"], dtype=object))
    """answer: the values of each property that is asked for, as training has them."""
    known: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["item", "property", "value"], dtype=object)
    )
    """answer: all true triples of the items asked about; an item's other true values are no competitors."""

    def part(self, name: Part) -> Examples:
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def limited(self, train: int = 0, valid: int = 0, test: int = 0) -> "TaskData":
        """With at most so many examples of each part, drawn; 0: all."""
        limits = {"train": train, "valid": valid, "test": test}
        return replace(self, **{name: self.part(name).first(limits[name], name) for name in PARTS})  # type: ignore[arg-type]

    @cached_property
    def answers(self) -> Shaped[np.ndarray, " A"]:
        """answer: every value that is a candidate of some property, once, in code-point order."""
        return np.unique(self.candidates["value"].to_numpy(dtype=object))


def from_table(task: Task, table: pd.DataFrame, store: Store, **more: Any) -> TaskData:
    """From rows with the task's columns; classes are those of train, in code-point order.

    Raises:
        ValueError: for a split that is none, labels of alignment that are not 0 and 1, a class that train lacks, a part
            without examples.
        UnknownItems: for an item that the store has not.
    """
    require_splits(table)
    store.item_ords(pd.unique(table[ITEM_COLUMNS[task]].to_numpy(dtype=object).ravel()).tolist())
    if task == "classify":
        classes = tuple(sorted(set(table.loc[table["split"] == "train", "label"])))
        unknown = sorted(set(table["label"]) - set(classes))
        if unknown:
            raise ValueError(f"every class needs examples of split train (got none of {', '.join(unknown[:5])})")
        table = table.assign(label=table["label"].map({name: number for number, name in enumerate(classes)}))
        more = {"classes": classes} | more
    elif task == "align":
        wrong = sorted(set(table["label"].astype(str)) - {"0", "1"})
        if wrong:
            raise ValueError(f"labels of alignment are 0 and 1 (got {wrong[0]!r})")
        table = table.assign(label=table["label"].astype(np.int64))
    table = table.assign(group=group_names(store, table["item"]))
    return TaskData(task, *examples_of(task, table), **more)


def require_splits(table: pd.DataFrame) -> None:
    unknown = sorted(set(table["split"]) - set(PARTS))
    if unknown:
        raise ValueError(f"split is one of {', '.join(PARTS)} (got {unknown[0]!r})")
    missing = [name for name in PARTS if name not in set(table["split"])]
    if missing:
        raise ValueError(f"the task needs examples of every split (got none of {', '.join(missing)})")


def examples_of(task: Task, table: pd.DataFrame) -> tuple[Examples, Examples, Examples]:
    """Train, valid and test of a table with columns split and group."""
    own = [*(name for name in COLUMNS[task] if name != "split"), "group"]
    train, valid, test = (
        Examples(task, table.loc[table["split"] == name, own].reset_index(drop=True)) for name in PARTS
    )
    return train, valid, test


def from_file(task: Task, path: Path, store: Store) -> TaskData:
    """From a table like `classification.tsv` or `alignment.tsv`: tab-separated, no header, no quoting; columns as
    `COLUMNS` has them.

    Raises:
        ValueError: naming the file; and as `from_table`.
    """
    table = pd.read_csv(path, sep="\t", header=None, dtype=str, quoting=3, keep_default_na=False)
    if table.shape[1] != len(COLUMNS[task]):
        raise ValueError(f"{path} needs the columns {', '.join(COLUMNS[task])} (got {table.shape[1]} columns)")
    table.columns = pd.Index(COLUMNS[task])
    try:
        return _with_answers(table, store) if task == "answer" else from_table(task, table, store)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _with_answers(table: pd.DataFrame, store: Store) -> TaskData:
    candidates, known = answer_frames(store, table)
    return from_table("answer", table, store, candidates=candidates, known=known)


def answer_frames(store: Store, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`candidates` and `known` of the questions in a table with columns item and property."""
    counted = store.value_counts().to_pandas()
    candidates = counted.loc[counted["property"].isin(set(table["property"])), ["property", "value"]]
    items = store.item_ords(pd.unique(table["item"]).tolist())
    known = store.triples_of(items, (None, *store.counts().splits)).to_pandas()[["item", "property", "value"]]
    known = known[known["property"].isin(set(table["property"]))]
    return candidates.reset_index(drop=True), known.reset_index(drop=True)


def group_names(store: Store, items: Iterable[str]) -> Shaped[np.ndarray, " n"]:
    """Field `group` of the items; an item without one is its own."""
    names = np.array(list(items), dtype=object)
    if "group" not in store.item_fields() or not len(names):
        return names
    own = store.item_features(store.item_ords(names.tolist()), ("group",))["group"]
    return np.where(pd.isna(own), names, own)
