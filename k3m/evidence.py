"""What a trained model's vectors rest on: c* of items, and what it would be without the title, the photograph, the
graph, or any one of the triples shown.

Photographs are encoded once, and a triple is left out in closed form, so that the ablations of an item cost about as
much as its vector. They are what `Run.predictor(..., without=...)` gives; where knowledge is read as sequences, less
the reading of a triple beside those that are left out.

Legend: B items, A of them and those that share their values, E visible triples, D width.
"""

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from k3m.aggregation import ScoredTriples
from k3m.batch import ProductBatch
from k3m.fusion import InitialInteractiveFusion
from k3m.model import K3M, Alone, Outputs
from k3m.photographs import Photographs
from k3m.scoring import Items
from k3m.streaming import Stream
from k3m.wide import codes, without_code

MODALITIES = ("title", "image", "graph")


@dataclass(frozen=True)
class Evidence:
    """Of a batch of items."""

    item: NDArray[np.int64]
    """Their ordinals in the store, [B]."""
    items: Items
    """c* and what the wide part reads, [B]."""
    without: dict[str, Items]
    """The same without each of `MODALITIES`."""
    triple_item: Int[Tensor, " E"]
    """Row of the item that a visible triple belongs to; ascending."""
    triple_names: NDArray[np.object_]
    """Its property and value, [E, 2]."""
    triple_is_fact: Bool[Tensor, " E"]
    """Whether it is a triple of the graph, else a visible item field."""
    left_out: Items
    """Its item without it, [E]."""
    title_from_image: Float[Tensor, " B"] | None
    """Share of its title's features that the gates took as informed by the photograph; NaN where it lacks one of the
    two, None where there are no gates."""
    image_from_title: Float[Tensor, " B"] | None
    """Likewise the other way round."""


def evidence(
    model: K3M, stream: Stream, items: NDArray[np.int64], without: Collection[str] = (), progress: bool = False
) -> Iterator[Evidence]:
    """Of the items (ordinals of the stream's store), batch by batch in their order.

    Args:
        without: modalities that the model is not shown to begin with.
    """
    model.eval()
    device = next(model.parameters()).device
    batches = stream.evaluation(items, without, named=True)
    for batch in tqdm(batches, desc="evidence", unit="batch", disable=not progress):
        yield _of_batch(model, batch.to(device))


@torch.inference_mode()
def _of_batch(model: K3M, batch: ProductBatch) -> Evidence:
    assert batch.triple_names is not None
    assert batch.triple_is_fact is not None
    alone = model.encode(batch)
    out = model.combine(batch, alone)
    gates = _gates(model.fuse_text, batch, alone.text_mask), _gates(model.fuse_image, batch, alone.image_mask)
    ablated = {
        "title": _without_title(model, batch, alone),
        "image": _without_image(model, batch, alone),
        "graph": _without_graph(model, batch, out),
    }
    return Evidence(
        item=batch.item.cpu().numpy(),
        items=Items(out.item, model.features(batch)).cpu(),
        without={name: items.cpu() for name, items in ablated.items()},
        triple_item=batch.triple_item.cpu(),
        triple_names=batch.triple_names,
        triple_is_fact=batch.triple_is_fact.cpu(),
        left_out=_left_out(model, batch, out).cpu(),
        title_from_image=gates[0],
        image_from_title=gates[1],
    )


def _without_title(model: K3M, batch: ProductBatch, alone: Alone) -> Items:
    """Every title is the [CLS] alone."""
    first = batch.title[:, :1]
    batch = dataclasses.replace(batch, title=first, has_title=torch.zeros_like(batch.has_title))
    text = model.text_encoder(first[:1]).expand(len(first), -1, -1)
    alone = dataclasses.replace(alone, text=text, text_mask=first != model.pad)
    return Items(model.combine(batch, alone).item, model.features(batch))


def _without_image(model: K3M, batch: ProductBatch, alone: Alone) -> Items:
    """Every photograph is the one learnt object that stands for none."""
    photographs = batch.photographs
    absent = dataclasses.replace(photographs, present=torch.zeros_like(photographs.present))
    one = {name: torch.zeros_like(getattr(photographs, name)[:1]) for name in Photographs.__dataclass_fields__}
    image, mask = model.image_encoder(Photographs(**one), None)
    number = len(photographs.present)
    batch = dataclasses.replace(batch, photographs=absent)
    image, mask = image[:, :1].expand(number, -1, -1), mask[:, :1].expand(number, -1)
    alone = dataclasses.replace(alone, image=image, image_mask=mask)
    return Items(model.combine(batch, alone).item, model.features(batch))


def _without_graph(model: K3M, batch: ProductBatch, out: Outputs) -> Items:
    """From visible item fields alone."""
    assert batch.triple_is_fact is not None
    left = ~batch.triple_is_fact
    fields = ScoredTriples(out.triples.triple[left], out.triples.score[left], out.triples.item[left])
    shown = {name: getattr(batch, name)[left] for name in ("triple_item", "triple_property", "triple_value")}
    return Items(model.aggregate(out.initial, fields), model.features(dataclasses.replace(batch, **shown)))


def _left_out(model: K3M, batch: ProductBatch, out: Outputs) -> Items:
    """Each triple's item without it."""
    features = model.features(batch)
    if features is not None:
        features = without_code(features[batch.triple_item], codes(batch.strings)[batch.triple_value])
    return Items(model.aggregate.leave_one_out(out.initial, out.triples), features)


def _gates(
    fusion: InitialInteractiveFusion, batch: ProductBatch, mask: Bool[Tensor, "A L"]
) -> Float[Tensor, " B"] | None:
    """Of the last pass, the mean over an item's tokens or objects of what came from the other modality."""
    if fusion.kept_alone is None:
        return None
    number = len(batch.item)
    share = 1 - (fusion.kept_alone * mask).sum(1) / mask.sum(1)
    both = batch.has_title & batch.photographs.present
    return share.masked_fill(~both, torch.nan)[:number].cpu()
