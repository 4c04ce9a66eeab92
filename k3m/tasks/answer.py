"""Multi-modal question answering: an item, its title slot holding `title [SEP] question`, and candidate answers; an
answer's score is MLP([c* ; answer]), cross-entropy over the candidates; Rank@10 and MRR (paper.md section 3).

Ranks follow `k3m.ranks`: the item's other true values are no competitors, ties take the mean rank, a true value that
training has never seen comes last.

Legend: n questions, A answers, D width.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import gelu

from graphstore import Store
from k3m import ranks, rng
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, TaskData, answer_frames, examples_of, group_names
from k3m.validation import in_part

TEMPLATES = ("what is the {}?", "which {} does it have?", "{}?")
UNSEEN_TEMPLATE = "tell me the {} of this product"
"""Never asked in training."""


class AnswerHead(nn.Module):
    """MLP([c* ; answer]): its first matrix is kept in two, for c* and for the answer, so that no pair is written out
    before the hidden layer."""

    def __init__(self, width: int, config: TaskConfig) -> None:
        super().__init__()
        self.norm_item, self.norm_answer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.item, self.answer = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(2 * width, 1)

    def forward(self, items: Float[Tensor, "n D"], answers: Float[Tensor, "A D"]) -> Float[Tensor, "n A"]:
        item = self.item(self.dropout(self.norm_item(items)))
        answer = self.answer(self.dropout(self.norm_answer(answers)))
        return self.out(gelu(item[:, None] + answer[None]))[..., 0]


def questions_of(examples: Examples, template: str = "") -> list[str]:
    """What is asked, in words; "": of several templates, one is drawn for each example."""
    properties = examples.table["property"].tolist()
    if template:
        return [template.format(name) for name in properties]
    keys = rng.item_keys(examples.table["item"].to_numpy(dtype=object), "template")
    draws = (rng.uniform(keys, np.arange(len(keys))) * len(TEMPLATES)).astype(int)
    return [TEMPLATES[nth].format(name) for nth, name in zip(draws, properties, strict=True)]


def from_store(store: Store, most: int = 50_000) -> TaskData:
    """Questions about kept-back triples: splits `test`, the part of `valid` to select by, and for training at most
    `most` training triples of the same properties. None of these is about a property that `valid` or `test` asks of an
    item of the same group.

    Raises:
        ValueError: for a store without kept-back triples.
    """
    lacking = {"valid", "test"} - set(store.counts().splits)
    if lacking:
        raise ValueError(f"{store.location} keeps no triples of split {' and '.join(sorted(lacking))} back to ask for")
    valid, test = store.triples(("valid",)), store.triples(("test",)).to_pandas()
    selected = valid.to_pandas()[in_part(store, valid, "select")]
    asked = pd.concat([selected.assign(split="valid"), test.assign(split="test")], ignore_index=True)
    training = store.triples().to_pandas()
    training = training[training["property"].isin(set(asked["property"]))].assign(split="train")
    table = pd.concat([training, asked], ignore_index=True)[["item", "property", "value", "split"]]
    table = table.assign(group=group_names(store, table["item"]))
    kept = set(zip(*_columns(table[table["split"] != "train"]), strict=True))
    clash = np.array([pair in kept for pair in zip(*_columns(table), strict=True)]) & (table["split"] == "train")
    table = table[~clash]
    candidates, known = answer_frames(store, table)
    train, valid, test_part = examples_of("answer", table)
    return TaskData("answer", train.first(most, "train"), valid, test_part, candidates=candidates, known=known)


def _columns(table: pd.DataFrame) -> tuple[Sequence[str], Sequence[str]]:
    return table["group"].tolist(), table["property"].tolist()


def drawn_answers(
    true: Int64[np.ndarray, " n"], number: int, answers: int, *purpose: object
) -> Int64[np.ndarray, " a"]:
    """Columns that a batch of training is ranked against: its own true ones, and others, drawn."""
    own = np.unique(true[true >= 0])
    draws = rng.first(min(answers, number), number, "answers", *purpose)
    return np.concatenate([own, np.setdiff1d(draws, own)])


def answer_loss(
    scores: Float[Tensor, "n a"], columns: Int64[np.ndarray, " a"], true: Int64[np.ndarray, " n"], also: Tensor
) -> Float[Tensor, ""]:
    """Cross-entropy over the columns; `also` [n, a]: other true values of the item, which are no wrong answers."""
    place = torch.from_numpy(np.searchsorted(columns[np.argsort(columns)], true)).to(scores.device)
    order = torch.from_numpy(np.argsort(columns)).to(scores.device)
    return nn.functional.cross_entropy(scores.masked_fill(also, -torch.inf)[:, order], place)


def true_columns(examples: Examples, answers: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Place of each true value among the answers, UNSEEN where it is none of them."""
    index = pd.Index(answers, dtype=object)
    return index.get_indexer(pd.Index(examples.table["value"], dtype=object)).astype(np.int64)


def other_true(examples: Examples, data: TaskData) -> Bool[np.ndarray, "n A"]:
    """Which answers are other true values of the asked property of the item."""
    mask = np.zeros((len(examples), len(data.answers)), dtype=bool)
    rows = examples.table[["item", "property"]].assign(row=np.arange(len(examples)))
    pairs = rows.merge(data.known, on=["item", "property"])
    columns = pd.Index(data.answers, dtype=object).get_indexer(pd.Index(pairs["value"], dtype=object))
    mask[pairs["row"].to_numpy()[columns >= 0], columns[columns >= 0]] = True
    true = true_columns(examples, data.answers)
    there = np.flatnonzero(true != ranks.UNSEEN)
    mask[there, true[there]] = False
    return mask


def of_property(examples: Examples, data: TaskData) -> Bool[np.ndarray, "n A"]:
    """Which answers are candidates of the asked property."""
    codes, names = pd.factorize(examples.table["property"])
    table = np.zeros((len(names), len(data.answers)), dtype=bool)
    row = pd.Index(names).get_indexer(pd.Index(data.candidates["property"]))
    column = np.searchsorted(data.answers, data.candidates["value"].to_numpy(dtype=object))
    table[row[row >= 0], column[row >= 0]] = True
    return table[codes]


def outcomes(scores: Float[np.ndarray, "n A"], examples: Examples, data: TaskData) -> pd.DataFrame:
    true, others, own = (
        true_columns(examples, data.answers),
        other_true(examples, data),
        of_property(examples, data),
    )
    among_all = ranks.filtered_ranks(scores, true, others)
    # A value that training has for another property alone is none that this property's candidates hold.
    own_true = np.where((true >= 0) & own[np.arange(len(own)), true], true, ranks.UNSEEN)
    among_own = ranks.filtered_ranks(scores, own_true, others | ~own)
    columns = {"group": examples.groups, "outcome": 1 / among_all, "own": 1 / among_own}
    return pd.DataFrame(columns | {"property": examples.table["property"]})


def metrics(found: pd.DataFrame) -> dict[str, float]:
    """rank_at_10 and mrr among all values; own_rank_at_10 and own_mrr among the property's own."""
    return {
        "rank_at_10": float((found["outcome"] >= 0.1).mean()),
        "mrr": float(found["outcome"].mean()),
        "own_rank_at_10": float((found["own"] >= 0.1).mean()),
        "own_mrr": float(found["own"].mean()),
        "n": len(found),
    }
