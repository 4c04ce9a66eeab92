"""Why a value is proposed: what its lead over its rivals rests on.

The lead of a value is its score less the mean score of the `RIVALS` best other values of the property: what decides a
rank, and a probability, is the difference, since what moves all scores alike says nothing. Each piece of evidence (the
title, the photograph, the graph, one triple or item field of the item) weighs as much as the lead falls without it, in
parts of the lead. Beside them stand the nearest items, by cosine of c*, that have the value in training, and a Cypher
that shows all of this (not for a graph that is read through a mapping: its labels are its own).

This tells what the model went by, which need not be why the value is true.

Legend: n proposals, S proposals and what they are compared with, E visible triples, D width.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from analysis.cypher import evidence_query
from k3m.evidence import MODALITIES, Evidence, evidence
from k3m.predictor import ModelPredictor, embed
from k3m.scoring import Items, Values

RIVALS = 10
NAMED = 5
"""Triples and fields that are named, at most."""
NEAREST = 3
CARRIERS = 20_000
"""Items with a value that are compared, at most."""
EMBEDDED = 500
"""Carriers of a value whose vectors are there: where there are fewer, as many are made as this lacks."""
COLUMNS = (
    "item",
    "property",
    "value",
    "lead",
    *MODALITIES,
    *(f"without_{name}" for name in MODALITIES),
    "title_from_image",
    "image_from_title",
    "triples",
    "nearest",
    "cypher",
)


def reasons(
    predictor: ModelPredictor,
    proposals: pd.DataFrame,
    training: pd.DataFrame,
    without: Collection[str] = (),
    progress: bool = False,
) -> pd.DataFrame:
    """A row a proposal, in the order of `proposals`: item, property, value; `lead`, in the scores' unit; `title`,
    `image`, `graph`, the shares of the three in what the lead falls without them (NaN where none lowers it);
    `without_title`, ..., the fall in parts of the lead, negative where it rises; `title_from_image` and
    `image_from_title`, what the gates took from the other modality (NaN without gates, or where one is missing);
    `triples`, dicts of property, value, fall and is_fact (else an item field), the weightiest first; `nearest`, dicts
    of item and cosine; `cypher`.

    Args:
        predictor: its vectors, of the store without `without`, are searched for the nearest.
        proposals: item, property, value; values that are candidates.
        training: the store's training triples: item, property, value.
        without: modalities that the model is not shown.
    """
    asked = proposals[["item", "property", "value"]].reset_index(drop=True)
    if asked.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    stream = predictor.stream
    ords = np.unique(stream.store.item_ords(asked["item"].unique().tolist()))
    weigher = Weigher(predictor)
    parts = [weigher.weighed(batch, asked) for batch in evidence(predictor.model, stream, ords, without, progress)]
    found = asked.join(pd.concat(parts))
    found["nearest"] = pd.Series(nearest(predictor, asked, training, without))
    found["cypher"] = pd.Series(_queries(found, predictor), dtype=object)
    return found[list(COLUMNS)]


@dataclass
class _Asked:
    """Proposals of one property in a batch: their rows in the batch, and the columns of value and rivals."""

    row: Int[Tensor, " n"]
    compared: Values
    """The value, then its rivals, [n, R]."""


class Weigher:
    """Weighs the evidence of proposals, batch by batch; each property's strings are encoded once."""

    def __init__(self, predictor: ModelPredictor) -> None:
        self.predictor = predictor
        self._strings: dict[str, tuple[Tensor, Values]] = {}

    def weighed(self, batch: Evidence, asked: pd.DataFrame) -> pd.DataFrame:
        """Of those of `asked` (item, property, value) whose item is in the batch, by their index."""
        ids = self.predictor.stream.store.item_ids(batch.item)
        row = asked["item"].map({item: place for place, item in enumerate(ids)}).dropna().astype(np.int64)
        here = asked.loc[row.index, ["property", "value"]].assign(row=row)
        parts = [self._of_property(batch, str(name), of_property) for name, of_property in here.groupby("property")]
        return pd.concat(parts)

    @torch.inference_mode()
    def _of_property(self, batch: Evidence, name: str, here: pd.DataFrame) -> pd.DataFrame:
        property, chosen = self._compared(batch, name, here)
        triple, owner = _triples_of(chosen.row, batch.triple_item)
        lead = self._lead(batch.items[chosen.row], property, chosen.compared)
        ablated = {
            name: lead - self._lead(items[chosen.row], property, chosen.compared)
            for name, items in batch.without.items()
        }
        left_out = lead[owner] - self._lead(batch.left_out[triple], property, chosen.compared[owner])
        unit = lead.abs().clamp(min=1e-9)
        frame = pd.DataFrame({"lead": lead.numpy()}, index=here.index)
        frame[[f"without_{name}" for name in MODALITIES]] = torch.stack(
            [ablated[name] / unit for name in MODALITIES], dim=1
        ).numpy()
        frame[list(MODALITIES)] = _shares(torch.stack([ablated[name] for name in MODALITIES], dim=1)).numpy()
        for gate in ("title_from_image", "image_from_title"):
            share = getattr(batch, gate)
            frame[gate] = np.nan if share is None else share[chosen.row].numpy()
        named = _named(batch, triple, owner, left_out / unit[owner], len(here))
        frame["triples"] = pd.Series(named, index=here.index)
        return frame

    def _compared(self, batch: Evidence, name: str, here: pd.DataFrame) -> tuple[Tensor, _Asked]:
        if name not in self._strings:
            self._strings[name] = self.predictor.strings(name)
        property, values = self._strings[name]
        row = torch.from_numpy(here["row"].to_numpy(copy=True))
        own = torch.from_numpy(self.predictor.candidates.columns(name, here["value"]))
        if (own < 0).any():
            unknown = here["value"].iloc[int((own < 0).nonzero()[0])]
            raise ValueError(f"expected values that training has for {name!r}, got {unknown!r}")
        scores = self.predictor.scores(batch.items[row], property, values)
        scores.scatter_(1, own[:, None], -torch.inf)
        rivals = scores.topk(min(RIVALS, scores.shape[1] - 1), dim=1).indices
        return property, _Asked(row, values[torch.cat([own[:, None], rivals], dim=1)])

    def _lead(self, items: Items, property: Float[Tensor, "1 D"], compared: Values) -> Float[Tensor, " S"]:
        scores = self.predictor.scores(items, property, compared)
        return scores[:, 0] - (scores[:, 1:].mean(1) if scores.shape[1] > 1 else 0.0)


def _triples_of(row: Int[Tensor, " n"], triple_item: Int[Tensor, " E"]) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """The triples of each of these rows, row after row, and the place in `row` that each is for."""
    first = torch.searchsorted(triple_item, row)
    number = torch.searchsorted(triple_item, row, right=True) - first
    owner = torch.repeat_interleave(torch.arange(len(row)), number)
    within = torch.arange(len(owner)) - (number.cumsum(0) - number)[owner]
    return first[owner] + within, owner


def _shares(falls: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Of what lowers, in the whole; NaN where nothing does."""
    lowers = falls.clamp(min=0)
    return lowers / lowers.sum(1, keepdim=True)  # 0 / 0 is NaN


def _named(
    batch: Evidence, triple: Int[Tensor, " m"], owner: Int[Tensor, " m"], fall: Float[Tensor, " m"], number: int
) -> list[list[dict[str, Any]]]:
    """Of each proposal, the triples without which the lead falls most."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(number)]
    order = torch.argsort(fall, descending=True, stable=True)
    order = order[fall[order] > 0]
    names = batch.triple_names[triple[order].numpy()]
    facts = batch.triple_is_fact[triple[order]].tolist()
    for place, (property, value), weight, is_fact in zip(
        owner[order].tolist(), names, fall[order].tolist(), facts, strict=True
    ):
        if len(found[place]) < NAMED:
            found[place].append({"property": property, "value": value, "fall": weight, "is_fact": is_fact})
    return found


def nearest(
    predictor: ModelPredictor, asked: pd.DataFrame, training: pd.DataFrame, without: Collection[str] = ()
) -> list[list[dict[str, Any]]]:
    """Of each proposal (item, property, value), the `NEAREST` items by cosine of c* that have the value: dicts of item
    and cosine. Of a value that more than `CARRIERS` items have, as many are compared, evenly drawn."""
    pairs = asked[["property", "value"]].drop_duplicates()
    carriers = training.merge(pairs, on=["property", "value"])
    vectors = _Vectors(predictor, carriers, without)
    held = dict(iter(carriers.groupby(["property", "value"])["item"]))
    found: list[list[dict[str, Any]]] = [[] for _ in range(len(asked))]
    for pair, of_pair in asked.groupby(["property", "value"]):
        there = vectors.of_carriers(held[pair]) if pair in held else []
        if len(there):
            _nearest_among(there, vectors, of_pair, found)
    return found


def _nearest_among(
    there: list[str], vectors: "_Vectors", asked: pd.DataFrame, found: list[list[dict[str, Any]]]
) -> None:
    by_carrier = vectors.of(there)
    for part in np.array_split(asked.index.to_numpy(), len(asked) * len(there) // 2**22 + 1):
        items = asked.loc[part, "item"].tolist()
        cosine, column = (vectors.of(items) @ by_carrier.T).topk(min(NEAREST + 1, len(there)), dim=1)
        for place, item, row in zip(part, items, range(len(items)), strict=True):
            close = [
                {"item": there[carrier], "cosine": value}
                for carrier, value in zip(column[row].tolist(), cosine[row].tolist(), strict=True)
                if there[carrier] != item
            ]
            found[place] = close[:NEAREST]


class _Vectors:
    """c* of the predictor's items, and of those carriers that it lacks and that a value needs, at length 1."""

    def __init__(self, predictor: ModelPredictor, carriers: pd.DataFrame, without: Collection[str]) -> None:
        self.row = dict(predictor.row)
        there = carriers["item"].isin(self.row)
        lacking: set[str] = set()
        for _, of_pair in carriers.assign(there=there).groupby(["property", "value"]):
            number = max(0, EMBEDDED - int(of_pair["there"].sum()))
            lacking.update(of_pair.loc[~of_pair["there"], "item"].head(number))
        items = sorted(lacking)
        made = embed(predictor.model, predictor.stream, predictor.stream.store.item_ords(items), without)
        self.row |= {item: len(predictor.row) + place for place, item in enumerate(items)}
        self.vectors = normalize(torch.cat([predictor.items.vectors, made.vectors]))

    def of_carriers(self, items: pd.Series) -> list[str]:
        """Those that have a vector, `CARRIERS` at most."""
        there: list[str] = items[items.isin(self.row)].unique().tolist()
        step = -(-len(there) // CARRIERS) or 1
        return there[::step]

    def of(self, items: list[str]) -> Float[Tensor, "n D"]:
        return self.vectors[torch.tensor([self.row[item] for item in items], dtype=torch.long)]


def _queries(found: pd.DataFrame, predictor: ModelPredictor) -> list[str | None]:
    store = predictor.stream.store
    if store.split_manifest is not None:  # an adopted graph
        return [None] * len(found)
    contents = _field_contents(found, predictor)
    return [
        evidence_query(
            item,
            property,
            value,
            facts=[(t["property"], t["value"]) for t in triples if t["is_fact"]],
            fields=[(t["property"], contents[t["property"]][item]) for t in triples if not t["is_fact"]],
            nearest=[near["item"] for near in close],
        )
        for item, property, value, triples, close in found[
            ["item", "property", "value", "triples", "nearest"]
        ].itertuples(index=False)
    ]


def _field_contents(found: pd.DataFrame, predictor: ModelPredictor) -> dict[str, dict[str, Any]]:
    """The visible fields' contents by item, of their own types."""
    store, fields = predictor.stream.store, predictor.stream.config.visible.fields
    items = found["item"].unique().tolist()
    if not fields:
        return {}
    contents = store.item_features(store.item_ords(items), fields)
    return {name: dict(zip(items, contents[name], strict=True)) for name in fields}
