"""Tuning and evaluation of every model on every task.

`tune` and `evaluate` are what other packages call:

    tuned = tune.tune("k3m", data, source, TaskConfig(max_minutes=5), run=run)
    found = tune.evaluate(tuned, data, corrupted_source)      # part="test" by default
    found.metrics["accuracy"], found.outcomes                 # a row an example: group, outcome
"""

from dataclasses import dataclass

import pandas as pd

from graphstore import Store
from k3m.tasks.data import Part, TaskData
from k3m.tasks.scoring import Tuned


@dataclass(frozen=True)
class Evaluation:
    """Figures of one part, and what they are made of."""

    metrics: dict[str, float]
    """classify: accuracy, macro_f1. align: f1, macro_f1, accuracy, auc, threshold. answer: rank_at_10, mrr over all
    values; own_rank_at_10, own_mrr among the property's own. All: n."""
    outcomes: pd.DataFrame
    """In the order of the part's examples: group, outcome (1 right and 0 wrong; answer: the reciprocal rank among all
    values); align also label and predicted; answer also own, the reciprocal rank among the property's own."""


def evaluate(tuned: Tuned, data: TaskData, source: Store, part: Part = "test") -> Evaluation:
    """Figures of a tuned model on one part, its input read from `source` (the store, or a view of it that is
    corrupted); what is true is `data`'s."""
    raise NotImplementedError
