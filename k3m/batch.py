"""A batch: what the sampler drew, as tensors. Each distinct property and value string is there once, with indices
into it.

Legend: B items, L title tokens, h w pixels, M patches, S strings, W tokens a string, E visible triples, Q hidden
triples, K replaced values and N replaced items of each.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from k3m import masking, photographs, rng
from k3m.config import Config
from k3m.photographs import PATCH
from k3m.sampler import HAS, Subgraph, Triples
from k3m.text import OF, TextTokenizer


@dataclass(frozen=True)
class ProductBatch:
    """Items with title, photograph and visible triples; for training also what is asked of them."""

    item: Int[Tensor, " B"]
    """Ordinals of the items in the store."""
    title: Int[Tensor, "B L"]
    """Tokens, some masked; [CLS] first."""
    pixels: Float[Tensor, "B 3 h w"]
    """Photograph in [-1, 1]."""
    has_title: Bool[Tensor, " B"]
    has_image: Bool[Tensor, " B"]
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
    """Where nothing is hidden and triples are asked for by leaving one out: the visible triple that each is."""
    negative_values: Int[Tensor, "Q K"] | None = None
    """Replaced values, rows of `strings`; the mask is False where a draw is no negative (a training triple, or no
    draw at all)."""
    negative_values_mask: Bool[Tensor, "Q K"] | None = None
    negative_items: Int[Tensor, "Q N"] | None = None
    """Replaced items, rows of the batch; the mask likewise."""
    negative_items_mask: Bool[Tensor, "Q N"] | None = None
    title_labels: Int[Tensor, "B L"] | None = None
    """Token asked for by MLM, else -100."""
    patches_asked: Bool[Tensor, "B M"] | None = None
    """Patches asked for by MOM."""
    patches_zeroed: Bool[Tensor, "B M"] | None = None
    """Those of them that the model does not see."""
    hubs: int | None = None
    """Values that the second hop passed over; None without one."""


@dataclass(frozen=True)
class CandidateOrdinals:
    """The candidate values of each property as ordinals: those of property p are `values[indptr[p]:indptr[p + 1]]`."""

    indptr: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "CandidateOrdinals":
        """From columns property and value (training triples): an ordinal is the rank in code-point order
        (graphstore)."""
        properties, row = np.unique(table["property"].to_numpy(dtype=object), return_inverse=True)
        _, value = np.unique(table["value"].to_numpy(dtype=object), return_inverse=True)
        order = np.lexsort((value, row))
        indptr = np.searchsorted(row[order], np.arange(len(properties) + 1))
        return cls(indptr, value[order])

    def draw(
        self, hidden: Triples, keys: NDArray[np.uint64], turn: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """K candidates of each hidden triple's property, [Q, K], and whether the place is used: all of them where
        there are K or fewer."""
        first, size = self.indptr[hidden.property], np.diff(self.indptr)[hidden.property]
        draws = rng.uniform(keys[:, None], turn[:, None] * rng.STREAM + np.arange(k))
        place = np.where(size[:, None] <= k, np.arange(k)[None, :], (draws * size[:, None]).astype(np.int64))
        used = place < size[:, None]
        return self.values[first[:, None] + np.where(used, place, 0)], used


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
    training: bool
    epoch: int = 0
    without: frozenset[str] = field(default_factory=frozenset)
    """Modalities to leave out: title, image, graph."""

    def __call__(self, data: HeteroData, subgraph: Subgraph) -> ProductBatch:
        titles = [None if "title" in self.without else title for title in data["item"]["title"]]
        images = [None if "image" in self.without else image for image in data["item"]["image"]]
        batch = ProductBatch(
            item=data["item"].n_id,
            title=_tensor(self.tokenizer.titles(titles, self.config.data.title_tokens)),
            pixels=photographs.decode(images, self.config.data.image_height, self.config.data.image_width),
            has_title=torch.tensor([bool(title) for title in titles]),
            has_image=torch.tensor([image is not None for image in images]),
            hubs=None,
            **self._triples(data, subgraph),
        )
        return self._masked(batch, subgraph) if self.training else batch

    def _triples(self, data: HeteroData, subgraph: Subgraph) -> dict[str, Tensor]:
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
            texts["negative_values"] = (asked[:, None] + OF + replaced).ravel()
        codes, strings = pd.factorize(np.concatenate(list(texts.values())))
        ends = np.cumsum([len(part) for part in texts.values()])
        rows = {name: _tensor(part) for name, part in zip(texts, np.split(codes.astype(np.int64), ends), strict=False)}
        if self.training:
            rows["negative_values"] = rows["negative_values"].view(replaced.shape)
        rows |= {name: _tensor(array) for name, array in replacements.items()}
        if by_leaving_out:
            rows["hidden_edge"] = _tensor(edge)
        tokens = self.tokenizer.strings(strings.tolist(), self.config.data.string_tokens)
        return rows | {"strings": _tensor(tokens), "triple_item": _tensor(item), "hidden_item": _tensor(hidden.item)}

    def _visible(
        self, data: HeteroData, subgraph: Subgraph
    ) -> tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.object_], NDArray[np.int64]]:
        """The triples that the model sees, by item (item, property, value): those drawn, and `<item, field, value>` for
        each visible item field. Also the place in them of each of those drawn."""
        drawn = slice(0, 0) if "graph" in self.without else slice(None)
        texts = np.asarray(data["value"]["text"], dtype=object)[data[HAS].edge_index[1].numpy()]
        fields = [
            (row, name, str(value))
            for name in self.config.visible.fields
            for row, value in enumerate(data["item"][name])
            if value is not None
        ]
        rows, names, values = (
            (np.array(column, dtype=object) for column in zip(*fields, strict=True)) if fields else [[]] * 3
        )
        item = np.concatenate([subgraph.visible.item[drawn], np.asarray(rows, dtype=np.int64)])
        order = np.argsort(item, kind="stable")
        prop = np.concatenate([self.property_names[subgraph.visible.property[drawn]], names])
        place = np.argsort(order, kind="stable")[: len(subgraph.visible)]
        return item[order], prop[order], np.concatenate([texts[drawn], values])[order], place

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
        known_value = self._known(subgraph, hidden.item[:, None], hidden.property[:, None], values)
        return {
            "negative_values": values,
            "negative_values_mask": used & ~known_value,
            "negative_items": others,
            "negative_items_mask": ~self._known(subgraph, others, hidden.property[:, None], hidden.value[:, None]),
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
        title, labels = masking.mask_titles(
            batch.title.numpy(), self._keys(subgraph, "mlm"), loss.mask_title, self.tokenizer.size
        )
        patches = (batch.pixels.shape[2] // PATCH) * (batch.pixels.shape[3] // PATCH)
        asked, zeroed = masking.mask_objects(
            batch.has_image.numpy(), self._keys(subgraph, "mom"), loss.mask_image, patches
        )
        return dataclasses.replace(
            batch,
            title=_tensor(title),
            title_labels=_tensor(labels),
            patches_asked=_tensor(asked),
            patches_zeroed=_tensor(zeroed),
        )

    def _keys(self, subgraph: Subgraph, purpose: str) -> NDArray[np.uint64]:
        return rng.keys_of(subgraph.digests, self.config.train.seed, self.epoch, purpose)


def _tensor(array: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
