"""The image-text interactor: co-attention layers (paper.md 2.2.2). Legend: B items, L tokens, M objects, D width."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from k3m.transformer import Attention, FeedForward


class Stream(nn.Module):
    """One direction of a co-attention layer: own queries over the other modality, then the stream's own
    feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, own: Float[Tensor, "B L D"], other: Float[Tensor, "B M D"], other_mask: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B L D"]:
        own = self.norm_attention(own + self.dropout(self.attention(own, other, other_mask)))
        return self.norm_feed_forward(own + self.dropout(self.feed_forward(own)))


class CoAttention(nn.Module):
    """Layers in which text looks at image and image at text, both at once."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.text = nn.ModuleList(Stream(width, heads, dropout) for _ in range(layers))
        self.image = nn.ModuleList(Stream(width, heads, dropout) for _ in range(layers))

    def forward(
        self,
        text: Float[Tensor, "B L D"],
        text_mask: Bool[Tensor, "B L"],
        image: Float[Tensor, "B M D"],
        image_mask: Bool[Tensor, "B M"],
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B M D"]]:
        """Text informed by image (h_I_t) and image informed by text (h_T_i)."""
        for text_layer, image_layer in zip(self.text, self.image, strict=True):
            text, image = text_layer(text, image, image_mask), image_layer(image, text, text_mask)
        return text, image
