"""A batch: what the sampler drew, as tensors. Each distinct property and value string is there once, with indices
into it.

Legend: B items, A of them and those that share their values, L title tokens, P objects of a photograph, S strings, W
tokens a string, R sequences, V their tokens, E visible triples, Q hidden triples, K replaced values and N replaced
items of each, Z shared values, J rejections.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from k3m import masking, rng
from k3m.config import Config
from k3m.corruption import Corruption
from k3m.negatives import CandidateOrdinals
from k3m.photographs import PhotographReader, Photographs
from k3m.rejections import RejectedOrdinals, others_of
from k3m.sampler import HAS, Subgraph, Triples
from k3m.sequences import pair_sequences
from k3m.text import OF, TextTokenizer

REJECTED_TEXTS = ("rejected_property", "rejected_value", "rejected_others")


@dataclass(frozen=True)
class ProductBatch:
    """Items with title, photograph and visible triples; for training also what is asked of them."""

    item: Int[Tensor, " B"]
    """Ordinals of the items in the store."""
    title: Int[Tensor, "A L"]
    """Tokens, some masked; [CLS] first. Those of the B items come first."""
    has_title: Bool[Tensor, " A"]
    photographs: Photographs
    """Likewise of A items."""
    strings: Int[Tensor, "S W"]
    """Tokens of each distinct property and value of the batch."""
    triple_item: Int[Tensor, " E"]
    """Row of the batch that a visible triple belongs to; ascending."""
    triple_property: Int[Tensor, " E"]
    """Row of `strings`; likewise the next."""
    triple_value: Int[Tensor, " E"]
    hidden_item: Int[Tensor, " Q"]
    hidden_property: Int[Tensor, " Q"]
    hidden_value: Int[Tensor, " Q"]
    hidden_edge: Int[Tensor, " Q"] | None = None
    """Where nothing is hidden and triples are asked for by leaving one out: the visible triple that each is; -1 for one
    that is not shown."""
    hidden_weight: Float[Tensor, " Q"] | None = None
    """How much each counts, where not all count the same."""
    negative_values: Int[Tensor, "Q K"] | None = None
    """Replaced values, rows of `strings`; the mask is False where a draw is no negative (a training triple, or no
    draw at all)."""
    negative_values_mask: Bool[Tensor, "Q K"] | None = None
    values_drawn_from: Int[Tensor, " Q"] | None = None
    """How many values those are a draw of; where they are all of them, their own number."""
    negative_items: Int[Tensor, "Q N"] | None = None
    """Replaced items, rows of the batch; the mask likewise."""
    negative_items_mask: Bool[Tensor, "Q N"] | None = None
    title_labels: Int[Tensor, "A L"] | None = None
    """Token asked for by MLM, else -100."""
    objects_asked: Bool[Tensor, "A P"] | None = None
    """Objects asked for by MOM."""
    objects_zeroed: Bool[Tensor, "A P"] | None = None
    """Those of them that the model does not see."""
    sequences: Int[Tensor, "R V"] | None = None
    """Where knowledge is read as sequences: tokens of the items' visible pairs."""
    segments: Int[Tensor, "R V"] | None = None
    """2x for the property and 2x + 1 for the value of visible triple x, -1 for neither."""
    shared_triple: Int[Tensor, " Z"] | None = None
    """With a second hop that the model reads: a visible triple, and an item (of the A) that shares its value."""
    shared_item: Int[Tensor, " Z"] | None = None
    rejected_item: Int[Tensor, " J"] | None = None
    """Where rejections are read: row of the batch that each is about."""
    rejected_property: Int[Tensor, " J"] | None = None
    """Row of `strings`; likewise the next two."""
    rejected_value: Int[Tensor, " J"] | None = None
    rejected_others: Int[Tensor, "J K"] | None = None
    """Other candidates of the property; the mask is False for one that was rejected too, and for none at all."""
    rejected_others_mask: Bool[Tensor, "J K"] | None = None
    rejected_drawn_from: Int[Tensor, " J"] | None = None
    """As `values_drawn_from`."""
    hubs: int | None = None
    """Values that the second hop passed over; None without one."""
    triple_names: NDArray[np.object_] | None = None
    """On request, property and value of each visible triple, [E, 2]."""
    triple_is_fact: Bool[Tensor, " E"] | None = None
    """Likewise, whether it is a triple of the graph, else a visible item field."""

    def to(self, device: torch.device) -> "ProductBatch":
        """Its tensors on a device."""
        return _moved(self, device)


def _moved(held: Any, device: torch.device) -> Any:
    """A dataclass of tensors, and of such dataclasses, on a device."""
    changed: dict[str, Any] = {}
    for entry in dataclasses.fields(held):
        value = getattr(held, entry.name)
        if isinstance(value, Tensor):
            changed[entry.name] = value.to(device, non_blocking=True)
        elif dataclasses.is_dataclass(value):
            changed[entry.name] = _moved(value, device)
    return dataclasses.replace(held, **changed)


@dataclass
class BatchMaker:
    """Turns what the sampler drew into a `ProductBatch`; with `training`, with everything that the three objectives
    ask for."""

    config: Config
    tokenizer: TextTokenizer
    property_names: NDArray[np.object_]
    value_texts: NDArray[np.object_]
    """Training values by ordinal: those that can be hidden or drawn as negatives."""
    candidates: CandidateOrdinals
    reader: PhotographReader
    training: bool
    rejections: RejectedOrdinals | None = None
    """None where they are not read."""
    epoch: int = 0
    without: frozenset[str] = field(default_factory=frozenset)
    """Modalities to leave out: title, image, graph."""
    named: bool = False
    """Whether the visible triples come with their names."""

    def __call__(self, data: HeteroData, subgraph: Subgraph) -> ProductBatch:
        titles, images = self._shown(data, subgraph, "title"), self._shown(data, subgraph, "image")
        seeds = len(subgraph.digests)
        batch = ProductBatch(
            item=data["item"].n_id[:seeds],
            title=_tensor(self.tokenizer.titles(titles, self.config.text.title_tokens)),
            has_title=torch.tensor([bool(title) for title in titles]),
            photographs=self._photographs(images, subgraph),
            **self._triples(data, subgraph),
        )
        return self._masked(batch, subgraph) if self.training else batch

    def _shown(self, data: HeteroData, subgraph: Subgraph, field: str) -> list[Any]:
        """Titles or images of all items, None where there is none."""
        found = np.asarray(data["item"][field], dtype=object)
        if field in self.without:
            return [None] * len(found)
        if self.training:
            seeds, corruption = len(subgraph.digests), self._corruption(subgraph)
            change = corruption.titles if field == "title" else corruption.images
            found = np.concatenate([change(found[:seeds]), found[seeds:]])
        return found.tolist()

    def _photographs(self, images: list[Any], subgraph: Subgraph) -> Photographs:
        photographs, seeds = self.reader(images), len(subgraph.digests)
        if not self.training or self.config.image.ready:
            return photographs
        pixels = photographs.pixels
        changed = self._corruption(subgraph).pixels(pixels[:seeds])
        return dataclasses.replace(photographs, pixels=torch.cat([changed, pixels[seeds:]]))

    def _corruption(self, subgraph: Subgraph) -> Corruption:
        return Corruption(self.config.corrupt, self._keys(subgraph, "corruption"))

    def _triples(self, data: HeteroData, subgraph: Subgraph) -> dict[str, Any]:
        """Visible and hidden triples and replacements, as indices into one list of distinct strings."""
        item, prop, value, edge = self._visible(data, subgraph)
        by_leaving_out = self.training and self.config.loss.leave_one_out
        hidden = subgraph.visible if by_leaving_out else subgraph.hidden
        replacements = self._replacements(subgraph, hidden) if self.training else {}
        asked = self.property_names[hidden.property]
        texts = {
            "triple_property": prop,
            "triple_value": prop + OF + value,
            "hidden_property": asked,
            "hidden_value": asked + OF + self.value_texts[hidden.value],
        }
        if self.training:
            replaced = self.value_texts[replacements.pop("negative_values")]
            texts["negative_values"] = asked[:, None] + OF + replaced
        rejected = self._rejected(data, subgraph)
        texts |= {name: rejected.pop(name) for name in REJECTED_TEXTS if name in rejected}
        codes, strings = pd.factorize(np.concatenate([part.ravel() for part in texts.values()]))
        parts = np.split(codes.astype(np.int64), np.cumsum([part.size for part in texts.values()])[:-1])
        rows = {name: _tensor(part.reshape(texts[name].shape)) for name, part in zip(texts, parts, strict=True)}
        rows |= {name: _tensor(array) for name, array in (replacements | rejected).items()}
        if self.training and self.config.loss.balance:
            rows["hidden_weight"] = _tensor(self.candidates.weights(hidden, self.config.loss.balance))
        if by_leaving_out:
            rows["hidden_edge"] = _tensor(edge)
        tokens = self.tokenizer.strings(strings.tolist(), self.config.text.string_tokens)
        rows |= {"strings": _tensor(tokens), "triple_item": _tensor(item), "hidden_item": _tensor(hidden.item)}
        names: dict[str, Any] = {}
        if self.named:
            is_fact = np.isin(np.arange(len(item)), edge)
            names = {"triple_names": np.stack([prop, value], axis=1), "triple_is_fact": _tensor(is_fact)}
        return rows | names | self._sequences(item, prop, value) | self._sharing(subgraph, edge)

    def _sequences(
        self, item: NDArray[np.int64], prop: NDArray[np.object_], value: NDArray[np.object_]
    ) -> dict[str, Tensor]:
        if self.config.text.knowledge == "strings":
            return {}
        tokens, segments = pair_sequences(self.tokenizer, item, prop, value, self.config.text.string_tokens)
        return {"sequences": _tensor(tokens), "segments": _tensor(segments)}

    def _sharing(self, subgraph: Subgraph, edge: NDArray[np.int64]) -> dict[str, Tensor]:
        """The second hop, as far as its triples are shown."""
        if subgraph.further is None:
            return {}
        triple = edge[subgraph.further.via]
        there = triple >= 0
        return {
            "shared_triple": _tensor(triple[there]),
            "shared_item": _tensor(subgraph.further.triples.item[there]),
        }

    def _visible(
        self, data: HeteroData, subgraph: Subgraph
    ) -> tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.object_], NDArray[np.int64]]:
        """The triples that the model sees, by item (item, property, value): those drawn, less what corruption drops,
        and `<item, field, value>` for each visible item field. Also the place in them of each of those drawn, -1 for
        one that is not shown."""
        drawn = subgraph.visible
        shown = np.full(len(drawn), "graph" not in self.without)
        if self.training:
            shown &= self._corruption(subgraph).shown(drawn.item)
        texts = np.asarray(data["value"]["text"], dtype=object)[data[HAS].edge_index[1].numpy()[: len(drawn)]]
        rows, names, values = self._fields(data, len(subgraph.digests))
        item = np.concatenate([drawn.item[shown], rows])
        order = np.argsort(item, kind="stable")
        prop = np.concatenate([self.property_names[drawn.property[shown]], names])
        place = np.full(len(drawn), -1)
        place[shown] = np.argsort(order, kind="stable")[: int(shown.sum())]
        return item[order], prop[order], np.concatenate([texts[shown], values])[order], place

    def _fields(
        self, data: HeteroData, items: int
    ) -> tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.object_]]:
        """Of each visible field that an item has: its row, the field's name, the value."""
        found = [
            (row, name, str(value))
            for name in self.config.visible.fields
            for row, value in enumerate(data["item"][name][:items])
            if value is not None
        ]
        rows, names, values = zip(*found, strict=True) if found else ((), (), ())
        return np.array(rows, dtype=np.int64), np.array(names, dtype=object), np.array(values, dtype=object)

    def _replacements(self, subgraph: Subgraph, hidden: Triples) -> dict[str, NDArray]:
        """Replaced values (as ordinals) and replaced items. One that makes a training triple is masked out; kept-back
        ones are not known."""
        loss = self.config.loss
        keys = self._keys(subgraph, "negatives")[hidden.item]
        turn = np.arange(len(hidden)) - np.searchsorted(
            hidden.item, hidden.item
        )  # an item's hidden triples draw one after the other
        values, used = self.candidates.draw(hidden, keys, turn, loss.value_negatives)
        draws = rng.uniform(
            keys[:, None], turn[:, None] * rng.STREAM + rng.STREAM // 2 + np.arange(loss.item_negatives)
        )
        others = (draws * len(subgraph.digests)).astype(np.int64)
        whole = self.candidates.number(hidden) <= loss.value_negatives
        known_value = self._known(subgraph, hidden.item[:, None], hidden.property[:, None], values)
        return {
            "negative_values": values,
            "negative_values_mask": used & ~known_value,
            "values_drawn_from": np.where(whole, (used & ~known_value).sum(1), self.candidates.number(hidden) - 1),
            "negative_items": others,
            "negative_items_mask": ~self._known(subgraph, others, hidden.property[:, None], hidden.value[:, None]),
        }

    def _rejected(self, data: HeteroData, subgraph: Subgraph) -> dict[str, NDArray]:
        """What people rejected of these items, and what may be true instead."""
        if self.rejections is None or not self.training:
            return {}
        found = self.rejections.of(data["item"].n_id[: len(subgraph.digests)].numpy())
        keys = self._keys(subgraph, "rejections")
        others, mask, drawn_from = others_of(found, self.candidates, keys, self.config.loss.value_negatives)
        prop = self.property_names[found.property]
        return {
            "rejected_item": found.item,
            "rejected_property": prop,
            "rejected_value": prop + OF + self.value_texts[found.value],
            "rejected_others": prop[:, None] + OF + self.value_texts[others],
            "rejected_others_mask": mask,
            "rejected_drawn_from": drawn_from,
        }

    def _known(
        self, subgraph: Subgraph, item: NDArray[np.int64], prop: NDArray[np.int64], value: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether the batch's training triples hold <item, property, value>; the arrays broadcast."""
        n_values, n_properties = len(self.value_texts) + 1, len(self.property_names) + 1
        known = (subgraph.known.item * n_properties + subgraph.known.property) * n_values + subgraph.known.value
        return np.isin((item * n_properties + prop) * n_values + value, known)

    def _masked(self, batch: ProductBatch, subgraph: Subgraph) -> ProductBatch:
        loss = self.config.loss
        seeds, title, there = len(batch.item), batch.title.numpy(), batch.photographs.there.numpy()
        masked, labels = masking.mask_titles(
            title[:seeds], self._keys(subgraph, "mlm"), loss.mask_title, self.tokenizer.vocabulary
        )
        asked, zeroed = masking.mask_objects(there[:seeds], self._keys(subgraph, "mom"), loss.mask_image)
        # Nothing is asked of the items behind the seeds.
        return dataclasses.replace(
            batch,
            title=_tensor(np.concatenate([masked, title[seeds:]])),
            title_labels=_tensor(np.concatenate([labels, np.full_like(title[seeds:], masking.IGNORED)])),
            objects_asked=_tensor(np.concatenate([asked, np.zeros_like(there[seeds:])])),
            objects_zeroed=_tensor(np.concatenate([zeroed, np.zeros_like(there[seeds:])])),
        )

    def _keys(self, subgraph: Subgraph, purpose: str) -> NDArray[np.uint64]:
        return rng.keys_of(subgraph.digests, self.config.train.seed, self.epoch, purpose)


def _tensor(array: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
