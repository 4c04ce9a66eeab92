"""How the baselines let words and objects meet: two streams with co-attention, cross-modality layers, or one stream.

Each takes the states of both modalities and gives them back, and beside them the vector of the whole.

Legend: R rows, L tokens, M objects (the global one first), D width of words, G of objects.
"""

from jaxtyping import Bool, Float
from torch import Tensor, cat, nn

from k3m.config import LayerSize, ModelConfig
from k3m.interaction import Stream
from k3m.transformer import Attention, TransformerLayer

Mixed = tuple[Float[Tensor, "R L D"], Float[Tensor, "R M G"], Float[Tensor, "R D"]]
"""Words, objects, the whole."""


class Mixer(nn.Module):
    """A subclass gives `forward`. Args: sizes, and layers as the paper's of twelve scaled down."""

    def __init__(self, model: ModelConfig, layers: int) -> None:
        super().__init__()
        self.text, self.image, self.inner = model.text_size, model.image_size, model.interaction_size

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        raise NotImplementedError

    def read(self, text: Float[Tensor, "R L D"], text_mask: Bool[Tensor, "R L"]) -> Float[Tensor, "R L D"]:
        """Words alone, by what of it reads words: nothing of two streams, whose text encoder has done so."""
        return text


class CoAttentionMixer(Mixer):
    """ViLBERT (Lu et al., NeurIPS 2019, section 2.1 and figure 2): a co-attention block, in which each stream's queries
    meet the other's keys and values, then a Transformer block of each stream. The whole is the product of the states
    of [CLS] and of the global object (section 3.1, alignment)."""

    def __init__(self, model: ModelConfig, layers: int) -> None:
        super().__init__(model, layers)
        text, image, inner, dropout = self.text, self.image, self.inner, model.dropout
        self.text_meets = nn.ModuleList(Stream(text, image, inner, dropout) for _ in range(layers))
        self.image_meets = nn.ModuleList(Stream(image, text, inner, dropout) for _ in range(layers))
        self.text_layers = nn.ModuleList(TransformerLayer(text, dropout) for _ in range(layers))
        self.image_layers = nn.ModuleList(TransformerLayer(image, dropout) for _ in range(layers))
        self.pool_text, self.pool_image = nn.Linear(text.width, text.width), nn.Linear(image.width, text.width)

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        parts = zip(self.text_meets, self.image_meets, self.text_layers, self.image_layers, strict=True)
        for text_meets, image_meets, text_layer, image_layer in parts:
            text, image = text_meets(text, image, image_mask), image_meets(image, text, text_mask)
            text, image = text_layer(text, text_mask), image_layer(image, image_mask)
        return text, image, self.pool_text(text[:, 0]) * self.pool_image(image[:, 0])


class CrossModalityLayer(nn.Module):
    """LXMERT (Tan and Bansal, EMNLP 2019, section 2.2 and figure 1): cross-attention in both directions with the same
    weights, then self-attention and a feed-forward layer of each stream."""

    def __init__(self, text: LayerSize, image: LayerSize, dropout: float) -> None:
        super().__init__()
        assert text.width == image.width
        self.cross, self.norm_text, self.norm_image = (
            Attention(text.width, text.heads),
            nn.LayerNorm(text.width),
            nn.LayerNorm(text.width),
        )
        self.text, self.image = TransformerLayer(text, dropout), TransformerLayer(image, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M D"],
        image_mask: Bool[Tensor, "R M"],
    ) -> tuple[Float[Tensor, "R L D"], Float[Tensor, "R M D"]]:
        to_text, to_image = self.cross(text, image, image_mask), self.cross(image, text, text_mask)
        text = self.norm_text(text + self.dropout(to_text))
        image = self.norm_image(image + self.dropout(to_image))
        return self.text(text, text_mask), self.image(image, image_mask)


class CrossModalityMixer(Mixer):
    """LXMERT's cross-modality encoder. The whole is the state of [CLS] (section 2.3)."""

    def __init__(self, model: ModelConfig, layers: int) -> None:
        super().__init__(model, layers)
        size, own = self.text, self.image.width
        self.narrow = nn.Identity() if own == size.width else nn.Linear(own, size.width)
        self.widen = nn.Identity() if own == size.width else nn.Linear(size.width, own)
        self.layers = nn.ModuleList(CrossModalityLayer(size, size, model.dropout) for _ in range(layers))

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        image = self.narrow(image)
        for layer in self.layers:
            text, image = layer(text, text_mask, image, image_mask)
        return text, self.widen(image), text[:, 0]


class OneStream(Mixer):
    """Words and objects in one sequence of Transformer layers: VL-BERT, VisualBERT, Unicoder-VL, UNITER, and without
    objects a text model. The whole is the state of [CLS]."""

    def __init__(self, model: ModelConfig, layers: int) -> None:
        super().__init__(model, layers)
        size, own = self.text, self.image.width
        self.narrow = nn.Identity() if own == size.width else nn.Linear(own, size.width)
        self.widen = nn.Identity() if own == size.width else nn.Linear(size.width, own)
        self.kind = nn.Embedding(2, size.width)
        self.layers = nn.ModuleList(TransformerLayer(size, model.dropout) for _ in range(layers))

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        length = text.shape[1]
        x = cat([text + self.kind.weight[0], self.narrow(image) + self.kind.weight[1]], dim=1)
        mask = cat([text_mask, image_mask], dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return x[:, :length], self.widen(x[:, length:]), x[:, 0]

    def read(
        self, text: Float[Tensor, "R L D"], text_mask: Bool[Tensor, "R L"] | Bool[Tensor, "R L L"]
    ) -> Float[Tensor, "R L D"]:
        text = text + self.kind.weight[0]
        for layer in self.layers:
            text = layer(text, text_mask)
        return text


class TokenVisualStream(OneStream):
    """VL-BERT (Su et al., ICLR 2020, section 3.2): every word also carries the visual feature of the whole picture, and
    every object is a token [IMG] that carries its own."""

    def __init__(self, model: ModelConfig, layers: int) -> None:
        super().__init__(model, layers)
        self.visual = nn.Linear(self.image.width, self.text.width)

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        return super().forward(text + self.visual(image[:, :1]), text_mask, image, image_mask)


class TreeStream(OneStream):
    """K-BERT: words alone, each of which sees what its visible matrix lets it."""

    def forward(
        self,
        text: Float[Tensor, "R L D"],
        text_mask: Bool[Tensor, "R L L"],
        image: Float[Tensor, "R M G"],
        image_mask: Bool[Tensor, "R M"],
    ) -> Mixed:
        text = self.read(text, text_mask)
        return text, image, text[:, 0]
