"""What makes vectors of items: one interface for K3M and every baseline, over the batches that K3M's stream makes.

Legend: B items, n pairs (items 2k and 2k + 1 of a batch are one), S answers, W tokens of each, D width, L M X tokens,
objects, triples.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from k3m.batch import ProductBatch
from k3m.config import Config, LayerSize
from k3m.model import K3M, Outputs
from k3m.transformer import TransformerLayer


class ItemEncoder(nn.Module):
    """A subclass gives the three methods.

    Attributes:
        width: D.
        config: of its stream, which says what a batch holds.
        architecture: of a pretrained text encoder.
    """

    width: int
    config: Config
    architecture: dict[str, Any] | None = None

    def encode(self, batch: ProductBatch) -> Float[Tensor, "B D"]:
        """One vector an item."""
        raise NotImplementedError

    def encode_pairs(self, batch: ProductBatch) -> Float[Tensor, "n D"]:
        """One vector a pair, both of whose items are read in one pass; of an encoder made with `cross`."""
        raise NotImplementedError

    def encode_answers(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        """One vector an answer (tokens as `TextTokenizer.strings` gives them)."""
        raise NotImplementedError

    def old(self) -> list[nn.Parameter]:
        """What was trained before the task, and takes the lower learning rate."""
        raise NotImplementedError


class K3MEncoder(ItemEncoder):
    """c* of a K3M run."""

    def __init__(self, model: K3M, cross: bool = False) -> None:
        super().__init__()
        self.model, self.config, self.width = model, model.config, model.config.model.items_width
        model.anneal(1.0)  # hard IFFM: the temperature at which pretraining ended
        sizes = model.config.model
        self.cross = CrossReader([sizes.width, sizes.image_size.width, self.width], self.width) if cross else None

    def encode(self, batch: ProductBatch) -> Float[Tensor, "B D"]:
        return self.model(batch).item

    def encode_pairs(self, batch: ProductBatch) -> Float[Tensor, "n D"]:
        """Fused tokens and objects, triples and c* of both items, before each other's eyes: the paper's model reads one
        item, so that the two first meet above it."""
        assert self.cross is not None
        out: Outputs = self.model(batch)
        items = len(batch.item)
        text = (batch.title[:items] != self.model.pad) & batch.has_title[:items, None]
        there = torch.cat([batch.photographs.present[:, None], batch.photographs.there], dim=1)[:items]
        triples, shown = by_item(out.triples.triple.mean(1), out.triples.item, items)
        states = [(out.text[:items], text), (out.image[:items], there), (triples, shown)]
        return self.cross(out.item, states)

    def encode_answers(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        return self.model.encode_strings(tokens)

    def old(self) -> list[nn.Parameter]:
        return list(self.model.parameters())


class CrossReader(nn.Module):
    """Two Transformer layers over the states of both items, each item's own mark added; what comes of a learnt first
    token is the pair's vector."""

    def __init__(self, widths: list[int], width: int, layers: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Linear(own, width) for own in widths)
        self.kind, self.side = nn.Embedding(len(widths) + 1, width), nn.Embedding(2, width)
        self.first = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        size = LayerSize(width, heads, 4 * width)
        self.layers = nn.ModuleList(TransformerLayer(size, dropout) for _ in range(layers))

    def forward(
        self, items: Float[Tensor, "B D"], states: list[tuple[Float[Tensor, "B _ _"], Bool[Tensor, "B _"]]]
    ) -> Float[Tensor, "n D"]:
        parts = [items[:, None] + self.kind.weight[-1]]
        parts += [
            narrow(own) + kind for narrow, (own, _), kind in zip(self.narrow, states, self.kind.weight, strict=False)
        ]
        whole = torch.ones_like(items[:, :1], dtype=torch.bool)
        mask = torch.cat([whole, *(seen for _, seen in states)], dim=1)
        side = self.side.weight.repeat(len(items) // 2, 1)[:, None]
        x = (torch.cat(parts, dim=1) + side).unflatten(0, (-1, 2)).flatten(1, 2)  # [n, 2 (1 + L + M + X), D]
        x = self.norm(torch.cat([self.first.expand(len(x), 1, -1), x], dim=1))
        seen = torch.cat([whole[::2], mask.unflatten(0, (-1, 2)).flatten(1, 2)], dim=1)
        for layer in self.layers:
            x = layer(x, seen)
        return x[:, 0]


def by_item(
    rows: Float[Tensor, "E D"], item: Int[Tensor, " E"], items: int
) -> tuple[Float[Tensor, "B X D"], Bool[Tensor, "B X"]]:
    """Rows that belong to items, ascending, as a padded row of them an item, and which places are taken."""
    degree = torch.bincount(item, minlength=items)
    place = torch.arange(len(item), device=item.device) - (degree.cumsum(0) - degree)[item]
    longest = int(degree.max()) if len(item) else 0
    table = rows.new_zeros(items, longest, *rows.shape[1:])
    table[item, place] = rows
    taken = torch.arange(longest, device=item.device) < degree[:, None]
    return table, taken


def moved(encoder: ItemEncoder, batch: ProductBatch) -> ProductBatch:
    """The batch where the encoder's weights are."""
    return batch.to(next(encoder.parameters()).device)


def described(encoder: ItemEncoder) -> dict[str, Any]:
    """For a table: how large it is."""
    return {"parameters": sum(weights.numel() for weights in encoder.parameters())}
