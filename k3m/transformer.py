"""The Transformer layers that every encoder is made of. Legend: B items, L tokens or objects, M those looked at, D
width."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from k3m.config import LayerSize


class Attention(nn.Module):
    """Multi-head attention of `queries` over `context`; places where `mask` is False are not looked at.

    Args:
        width, context: of queries and context.
        inner: of the projections that are compared.
    """

    def __init__(self, width: int, heads: int, context: int | None = None, inner: int | None = None) -> None:
        super().__init__()
        self.heads, context, inner = heads, context or width, inner or width
        self.query = nn.Linear(width, inner)
        self.key, self.value = nn.Linear(context, inner), nn.Linear(context, inner)
        self.out = nn.Linear(inner, width)

    def forward(
        self,
        queries: Float[Tensor, "B L D"],
        context: Float[Tensor, "B M D"],
        mask: Bool[Tensor, "B M"] | Bool[Tensor, "B L M"],
    ) -> Float[Tensor, "B L D"]:
        """`mask` says for all queries alike, or for each, what it may look at."""
        q, k, v = self._split(self.query(queries)), self._split(self.key(context)), self._split(self.value(context))
        seen = mask[:, None, None, :] if mask.dim() == 2 else mask[:, None]
        # Written out: titles and values are a few tokens long, where torch's fused kernel takes three times as long.
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L d"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.narrow(gelu(self.widen(x)))


class TransformerLayer(nn.Module):
    """BERT's layer: attention and feed-forward, each with dropout, residual and layer norm after it."""

    def __init__(self, size: LayerSize, dropout: float) -> None:
        super().__init__()
        width = size.width
        self.attention, self.feed_forward = Attention(width, size.heads), FeedForward(width, size.feed_forward)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"] | Bool[Tensor, "B L L"]
    ) -> Float[Tensor, "B L D"]:
        x = self.norm_attention(x + self.dropout(self.attention(x, x, mask)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))
