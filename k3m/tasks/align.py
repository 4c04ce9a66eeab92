"""Product alignment: are two listings the same product? [c*_1 ; c*_2] -> fully connected -> binary cross-entropy; F1 of
the positive pairs, and the mean of both classes' F1, at a threshold chosen on validation (paper.md section 3)."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn

from graphstore import Store
from k3m import rng
from k3m.tasks.classify import parts_of
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, TaskData, examples_of
from k3m.tasks.heads import Perceptron


class PairHead(nn.Module):
    """Of two vectors, or (`TaskConfig.cross`) of one that was read from both items."""

    def __init__(self, width: int, config: TaskConfig) -> None:
        super().__init__()
        self.config = config
        times = 1 if config.cross else 2 if config.pairs == "concatenated" else 4
        self.layers = Perceptron(times * width, width, 1, config)

    def forward(self, pairs: Float[Tensor, "n k D"]) -> Float[Tensor, " n"]:
        """k is 2, or 1 of a cross-encoder."""
        if self.config.cross or self.config.pairs == "concatenated":
            return self.layers(pairs.flatten(1))[:, 0]
        left, right = pairs.unbind(1)
        return self.layers(torch.cat([left, right, (left - right).abs(), left * right], dim=1))[:, 0]


def from_store(store: Store, seed: int = 0) -> TaskData:
    """Pairs of items of one group, and as many of two groups of one category; every group lies in one split, so that
    every item does.

    Raises:
        ValueError: for a store without groups of two items.
    """
    if "group" not in store.item_fields():
        raise ValueError(f"{store.location} has no field group: name the pairs in a file (--data FILE)")
    category = ("category",) if "category" in store.item_fields() else ()
    items = store.items(("group", *category)).to_pandas().dropna(subset=["group"])
    items = items.assign(split=parts_of(items["group"], seed), category=items.get("category", ""))
    positive = _positive(items)
    if positive.empty:
        raise ValueError(f"{store.location} has no two items of one group: name the pairs in a file (--data FILE)")
    table = pd.concat([positive, _negative(items, positive, seed)], ignore_index=True)
    return TaskData("align", *examples_of("align", table))


def _positive(items: pd.DataFrame) -> pd.DataFrame:
    """Each item with the next of its group."""
    ordered = items.sort_values(["group", "id"], ignore_index=True)
    following = ordered.shift(-1)
    same = ordered["group"] == following["group"]
    pairs = ordered.assign(item=ordered["id"], other=following["id"], label=1)
    return pairs.loc[same, ["item", "other", "label", "split", "group", "category"]]


def _negative(items: pd.DataFrame, positive: pd.DataFrame, seed: int) -> pd.DataFrame:
    """For each positive pair its first item with one of another group, of its split and (where there is one) its
    category."""
    rows: list[dict[str, object]] = []
    pools = {str(name): pool for name, pool in items.groupby("split")}
    for pair in positive.to_dict("records"):
        others = pools[pair["split"]]
        others = others[others["group"] != pair["group"]]
        alike = others[others["category"] == pair["category"]]
        pool = (alike if len(alike) else others)["id"].to_numpy(dtype=object)
        if len(pool):
            draw = rng.uniform(rng.item_keys([pair["item"]], seed, "another item"), np.array([0]))[0]
            rows.append(pair | {"other": pool[int(draw * len(pool))], "label": 0})
    return pd.DataFrame(rows, columns=list(positive))


def best_threshold(scores: Float[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> float:
    """The score from which calling a pair positive has the highest F1; between two scores that occur."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + max(1, labels.sum()))
    ends = np.append(ranked[:-1] != ranked[1:], True)  # equal scores are called the same
    last = int(np.argmax(np.where(ends, f1, -1.0)))
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last] - 1.0
    return float((ranked[last] + below) / 2)


def outcomes(scores: Float[np.ndarray, " n"], examples: Examples, threshold: float) -> pd.DataFrame:
    predicted = (scores >= threshold).astype(np.int64)
    right = (predicted == examples.labels).astype(float)
    columns = {"group": examples.groups, "outcome": right, "label": examples.labels, "predicted": predicted}
    return pd.DataFrame(columns | {"score": scores})


def metrics(found: pd.DataFrame) -> dict[str, float]:
    """f1 of the positive pairs, macro_f1, accuracy, and auc, for which no threshold is needed."""
    label, predicted = found["label"].to_numpy(), found["predicted"].to_numpy()
    both = label.min() != label.max()
    return {
        "f1": float(f1_score(label, predicted, zero_division=0.0)),
        "macro_f1": float(f1_score(label, predicted, average="macro", zero_division=0.0)),
        "accuracy": float(found["outcome"].mean()),
        "auc": float(roc_auc_score(label, found["score"].to_numpy())) if both else float("nan"),
        "n": len(found),
    }
