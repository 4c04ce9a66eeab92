"""The image-text interactor: co-attention layers (paper.md 2.2.2). Legend: B items, L tokens, M objects, D and G widths
of a stream and of the other."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from k3m.config import LayerSize, ModelConfig
from k3m.transformer import Attention, FeedForward


class Stream(nn.Module):
    """One direction of a co-attention layer: own queries over the other modality, then the stream's own
    feed-forward."""

    def __init__(self, own: LayerSize, other: LayerSize, inner: LayerSize, dropout: float) -> None:
        super().__init__()
        width = own.width
        self.attention = Attention(width, inner.heads, other.width, inner.width)
        self.feed_forward = FeedForward(width, own.feed_forward)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, own: Float[Tensor, "B L D"], other: Float[Tensor, "B M G"], other_mask: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B L D"]:
        own = self.norm_attention(own + self.dropout(self.attention(own, other, other_mask)))
        return self.norm_feed_forward(own + self.dropout(self.feed_forward(own)))


class CoAttention(nn.Module):
    """Layers in which text looks at image and image at text, both at once."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        text, image, inner, layers = model.text_size, model.image_size, model.interaction_size, model.interaction_layers
        self.text = nn.ModuleList(Stream(text, image, inner, model.dropout) for _ in range(layers))
        self.image = nn.ModuleList(Stream(image, text, inner, model.dropout) for _ in range(layers))

    def forward(
        self,
        text: Float[Tensor, "B L D"],
        text_mask: Bool[Tensor, "B L"],
        image: Float[Tensor, "B M G"],
        image_mask: Bool[Tensor, "B M"],
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B M G"]]:
        """Text informed by image (h_I_t) and image informed by text (h_T_i)."""
        for text_layer, image_layer in zip(self.text, self.image, strict=True):
            text, image = text_layer(text, image, image_mask), image_layer(image, text, text_mask)
        return text, image
