"""What the two masked objectives predict from the fused streams, at the asked positions only (paper.md 2.3)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear


class MaskedLanguageHead(nn.Module):
    """Fused states of asked tokens to vocabulary logits; the output matrix is the token embedding's."""

    def __init__(self, width: int, embedding: nn.Embedding) -> None:
        super().__init__()
        self.transform, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.embedding = embedding
        self.bias = nn.Parameter(embedding.weight.new_zeros(embedding.num_embeddings))

    def forward(self, states: Float[Tensor, "A D"]) -> Float[Tensor, "A V"]:
        return linear(self.norm(gelu(self.transform(states))), self.embedding.weight, self.bias)


class MaskedObjectHead(nn.Module):
    """Fused states of asked patches to their normalised pixels."""

    def __init__(self, width: int, patch_values: int) -> None:
        super().__init__()
        self.transform, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.pixels = nn.Linear(width, patch_values)

    def forward(self, states: Float[Tensor, "A D"]) -> Float[Tensor, "A 768"]:
        return self.pixels(self.norm(gelu(self.transform(states))))
