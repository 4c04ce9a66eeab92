"""Whether a property applies to an item, found again: `python -m benchmarks.applicability STORE [--seed N]`.

Of the training triples of a store a part is hidden: `warm`, one in five (item, property) cells of nine items in ten;
`cold`, of the other items all but what nearly all items have. `described` are the warm items that have something left.
What is left is learnt from, then every cell that is not there is asked: the hidden ones are right, all others wrong,
although some of these are facts that nobody recorded. The rule that k3m.applicability is held against: the share of the
category's items that have the property, 5 % at least. Properties that nearly all items have are in no part.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

import graphstore
from graphstore import Store
from k3m.applicability import NEARLY_ALL, THRESHOLD, Applicability

HIDDEN, COLD = 0.2, 0.1
RULE = 0.05


class Hidden(NamedTuple):
    """What is left of a store, and by item and property [n, P] what is there and what was hidden."""

    left: Store
    items: pd.DataFrame
    properties: list[str]
    there: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    """[n]"""


def hide(store: Store, seed: int) -> Hidden:
    random = np.random.default_rng(seed)
    items, triples = store.items(("category",)).to_pandas(), store.triples().to_pandas()
    properties = sorted(triples["property"].unique())
    row = pd.Index(items["id"]).get_indexer(triples["item"])
    column = pd.Index(properties).get_indexer(triples["property"])
    every = np.zeros((len(items), len(properties)), dtype=bool)
    every[row, column] = True
    telling = every.mean(axis=0) < NEARLY_ALL
    cold = (random.random(len(items)) < COLD) & every[:, telling].any(axis=1)
    hidden = every & telling & (cold[:, None] | (random.random(every.shape) < HIDDEN))
    left = graphstore.from_tables(items, triples[~hidden[row, column]])
    kept = [place for place, tells in enumerate(telling) if tells]
    names = [properties[place] for place in kept]
    return Hidden(left, items, names, (every & ~hidden)[:, kept], hidden[:, kept], cold)


def by_rule(hidden: Hidden) -> NDArray[np.float64]:
    """The share of the category's items that have the property, [n, P]."""
    category = hidden.items["category"].fillna("")
    shares = pd.DataFrame(hidden.there).groupby(category.to_numpy()).mean()
    return shares.loc[category].to_numpy(dtype=float)


def by_model(hidden: Hidden) -> NDArray[np.float64]:
    found = Applicability.from_store(hidden.left)
    place = {name: column for column, name in enumerate(found.properties)}
    present = np.zeros((len(hidden.items), len(place)), dtype=bool)
    columns = [place[name] for name in hidden.properties if name in place]
    there = [column for column, name in enumerate(hidden.properties) if name in place]
    present[:, columns] = hidden.there[:, there]
    chances = np.zeros(hidden.there.shape)
    chances[:, there] = found.probabilities(hidden.items["category"], present)[:, columns]
    return chances


def figures(
    right: NDArray[np.bool_], chances: NDArray[np.float64], recall: float, threshold: float
) -> dict[str, float]:
    """At this recall, and at this threshold."""
    order = np.argsort(-chances, kind="stable")
    hits = np.cumsum(right[order])
    place = int(np.searchsorted(hits, recall * right.sum()))
    asked = chances >= threshold
    return {
        "AUC": roc_auc_score(right, chances),
        "AP": average_precision_score(right, chances),
        "log loss": log_loss(right, np.clip(chances, 1e-7, 1 - 1e-7)),
        "precision at the rule's recall": hits[place] / (place + 1),
        "recall at the threshold": right[asked].sum() / right.sum(),
        "precision there": right[asked].mean(),
        "asked": int(asked.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with graphstore.open(arguments.store) as store:
        hidden = hide(store, arguments.seed)
    rule, begun = by_rule(hidden), time.process_time()
    model, seconds = by_model(hidden), time.process_time() - begun
    print(f"{len(hidden.items)} items, {len(hidden.properties)} properties: {seconds:.1f} processor seconds")
    rows = []
    parts = {"warm": ~hidden.cold, "described": ~hidden.cold & hidden.there.any(axis=1), "cold": hidden.cold}
    for part, of_part in parts.items():
        cells = ~hidden.there & of_part[:, None]
        right = hidden.hidden[cells]
        recall = right[rule[cells] >= RULE].sum() / right.sum()
        for name, chances, threshold in (("rule", rule, RULE), ("k3m", model, THRESHOLD)):
            rows.append({"part": part, "by": name} | figures(right, chances[cells], recall, threshold))
    print(pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
