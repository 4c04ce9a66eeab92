"""What the two masked objectives predict from the fused streams, at the asked positions only (paper.md 2.3)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear


class MaskedLanguageHead(nn.Module):
    """Fused states of asked tokens to vocabulary logits; the output matrix is the token embedding's."""

    def __init__(self, width: int, embedding: nn.Embedding) -> None:
        super().__init__()
        own = embedding.embedding_dim
        self.transform, self.norm = nn.Linear(width, own), nn.LayerNorm(own)
        self.embedding = embedding
        self.bias = nn.Parameter(embedding.weight.new_zeros(embedding.num_embeddings))

    def forward(self, states: Float[Tensor, "A D"]) -> Float[Tensor, "A V"]:
        return linear(self.norm(gelu(self.transform(states))), self.embedding.weight, self.bias)


class MaskedObjectHead(nn.Module):
    """Fused states of asked objects to what the image front end targets: T pixels or features, or logits of
    classes."""

    def __init__(self, width: int, target: int) -> None:
        super().__init__()
        self.transform, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.target = nn.Linear(width, target)

    def forward(self, states: Float[Tensor, "A D"]) -> Float[Tensor, "A T"]:
        return self.target(self.norm(gelu(self.transform(states))))
