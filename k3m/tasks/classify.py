"""Item classification: c* -> fully connected -> softmax cross-entropy; accuracy and macro F1 (paper.md section 3).

A model that has seen the label in pretraining would only have to remember it: `unseen` refuses it.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from sklearn.metrics import f1_score
from torch import Tensor, nn

from graphstore import Store
from k3m import rng
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, TaskData, examples_of, group_names
from k3m.tasks.heads import Perceptron

LEAST = 20
"""Items of a class at least, of a task made from a store."""
SAME = 0.9
"""Share of examples whose label a field or property has word for word, from which it is the label."""
FOLLOWS = 0.98
"""Share of examples whose visible field follows from the label, from which the field is a level of the same tree."""
SHARES = {"train": 0.8, "valid": 0.9}
"""Where train and valid end, of a task made from a store."""


class ClassHead(nn.Module):
    def __init__(self, width: int, classes: int, config: TaskConfig) -> None:
        super().__init__()
        self.layers = Perceptron(width, width, classes, config)

    def forward(self, items: Float[Tensor, "n D"]) -> Float[Tensor, "n C"]:
        return self.layers(items)


def from_store(store: Store, label: str = "category", seed: int = 0) -> TaskData:
    """The task of telling an item field, or a property with one value an item; classes of `LEAST` items, split by
    group.

    Raises:
        ValueError: for a label that is neither, or has fewer than two such classes.
    """
    table = _labels(store, label)
    frequent = table["label"].map(table["label"].value_counts()) >= LEAST
    table = table[frequent]
    if table["label"].nunique() < 2:
        raise ValueError(f"{label} has fewer than two classes of {LEAST} items: classify needs two at least")
    group = group_names(store, table["item"])
    table = table.assign(split=parts_of(group, seed), group=group)
    # A class whose groups all lie outside train cannot be learnt.
    classes = tuple(sorted(set(table.loc[table["split"] == "train", "label"])))
    table = table[table["label"].isin(classes)]
    table = table.assign(label=table["label"].map({name: number for number, name in enumerate(classes)}))
    is_field = label in store.item_fields()
    return TaskData(
        "classify",
        *examples_of("classify", table),
        classes=classes,
        hidden_fields=(label,) if is_field else (),
        hidden_properties=() if is_field else (label,),
    )


def _labels(store: Store, label: str) -> pd.DataFrame:
    """item, label."""
    if label in store.item_fields():
        table = store.items((label,)).to_pandas().rename(columns={"id": "item", label: "label"}).dropna()
        return table.astype({"label": str})
    if label not in store.property_names():
        raise ValueError(f"--label names an item field or a property (got {label!r})")
    triples = store.triples().to_pandas()
    table = triples.loc[triples["property"] == label, ["item", "value"]].rename(columns={"value": "label"})
    return table[~table.duplicated("item", keep=False)]


def parts_of(groups: Iterable[object], seed: int) -> np.ndarray:
    """Each example's split, drawn by group: 80 % train, 10 % valid, 10 % test."""
    keys = rng.item_keys(np.array([str(group) for group in groups], dtype=object), seed, "parts of a task")
    draws = rng.uniform(keys, np.array([0]))
    return np.where(draws < SHARES["train"], "train", np.where(draws < SHARES["valid"], "valid", "test"))


def unseen(data: TaskData, store: Store, visible: Iterable[str], seen: Collection[str]) -> TaskData:
    """The task, for a model that has not seen its label: where a property tells it, that is hidden from the examples.

    Args:
        visible: item fields that the model reads, beyond title and image.
        seen: properties of the triples that it was pretrained on; none of a model from scratch.

    Raises:
        ValueError: for a model that sees the label, or saw it in pretraining, naming the field or property.
    """
    for name in (name for name in visible if name not in ("title", "image")):
        if name in data.hidden_fields or _tells(data, _field(store, data, name)):
            raise ValueError(
                f"the model has seen the label: its visible.fields have {name!r}. Take a run that was pretrained "
                "without it"
            )
    found = label_property(data, store)
    hidden = tuple(dict.fromkeys((*data.hidden_properties, *([found] if found else []))))
    for name in hidden:
        if name in seen:
            raise ValueError(
                f"the model has seen the label: it was pretrained on triples of the property {name!r}. Take a run of "
                "a store without it"
            )
    return replace(data, hidden_properties=hidden)


def label_property(data: TaskData, store: Store) -> str | None:
    """The property that has the label word for word, in most of the training examples that have the property and in a
    tenth of all of them at least."""
    items = data.train.table["item"]
    triples = store.triples_of(store.item_ords(items.tolist())).to_pandas()
    labels = pd.Series([data.classes[number] for number in data.train.labels], index=items)
    same = triples["value"].str.casefold() == triples["item"].map(labels).str.casefold()
    found = same.groupby(triples["property"]).agg(["mean", "sum"])
    wrong = found[(found["mean"] >= SAME) & (found["sum"] >= 0.1 * len(items))]
    return None if wrong.empty else str(wrong.index[0])


def _field(store: Store, data: TaskData, name: str) -> pd.Series:
    values = store.item_features(store.item_ords(data.train.table["item"].tolist()), (name,))[name]
    return pd.Series(values, dtype=object)


def _tells(data: TaskData, values: pd.Series) -> bool:
    """Whether a field is the label, or a coarser level of the same tree: it follows from the label."""
    there = values.notna().to_numpy()
    text = values[there].astype(str).str.casefold().reset_index(drop=True)
    labels = pd.Series(data.train.labels[there])
    if text.empty:
        return False
    if (text == labels.map(lambda number: data.classes[number].casefold())).mean() >= SAME:
        return True
    follows = text.groupby(labels).agg(lambda own: own.value_counts().iloc[0]).sum() / len(text)
    return 1 < text.nunique() <= labels.nunique() and bool(follows >= FOLLOWS)


def outcomes(scores: Float[np.ndarray, "n C"], examples: Examples) -> pd.DataFrame:
    predicted = scores.argmax(axis=1)
    right = (predicted == examples.labels).astype(float)
    return pd.DataFrame({"group": examples.groups, "outcome": right, "label": examples.labels, "predicted": predicted})


def metrics(found: pd.DataFrame) -> dict[str, float]:
    """accuracy and macro F1 (over the classes that are there or predicted)."""
    label: Int64[np.ndarray, " n"] = found["label"].to_numpy()
    macro = f1_score(label, found["predicted"].to_numpy(), average="macro", zero_division=0.0)
    return {"accuracy": float(found["outcome"].mean()), "macro_f1": float(macro), "n": len(found)}
