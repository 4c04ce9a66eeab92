"""What a trained model says of items: their vectors c*, and scores of candidate values. Legend: n items, K
candidates, D width."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from k3m.candidates import Candidates
from k3m.losses import plausibility
from k3m.model import K3M
from k3m.streaming import Stream
from k3m.text import OF


def embed(
    model: K3M, stream: Stream, items: NDArray[np.int64], without: Collection[str] = (), progress: bool = False
) -> Float[Tensor, "n D"]:
    """c* of the items (ordinals of the stream's store), from all of their training triples, less the modalities in
    `without`."""
    vectors = list(embedded(model, stream, items, without, progress))
    return torch.cat(vectors) if vectors else torch.empty(0, model.config.model.items_width)


@torch.inference_mode()
def embedded(
    model: K3M, stream: Stream, items: NDArray[np.int64], without: Collection[str] = (), progress: bool = False
) -> Iterator[Float[Tensor, "B D"]]:
    """`embed`, batch by batch."""
    model.eval()
    device = next(model.parameters()).device
    for batch in tqdm(stream.evaluation(items, without), desc="items", unit="batch", disable=not progress):
        yield model(batch.to(device)).item.float().cpu()


class ModelPredictor:
    """Scores candidate values for items whose vectors are computed once; higher is more plausible."""

    def __init__(self, model: K3M, stream: Stream, items: Sequence[str], vectors: Float[Tensor, "n D"]) -> None:
        self.model, self.stream = model, stream
        self.candidates: Candidates = stream.candidates
        self.row = {item: row for row, item in enumerate(items)}
        self.vectors = vectors

    @classmethod
    def of(
        cls, model: K3M, stream: Stream, items: Sequence[str], without: Collection[str] = (), progress: bool = False
    ) -> "ModelPredictor":
        return cls(model, stream, items, embed(model, stream, stream.store.item_ords(items), without, progress))

    @torch.inference_mode()
    def score(self, property: str, items: Sequence[str]) -> NDArray[np.float32]:
        """[n, K], higher is better; columns as `candidates.of(property)`."""
        rows = torch.tensor([self.row[item] for item in items], dtype=torch.long)
        return self.scores(self.vectors[rows], *self.strings(property)).numpy()

    @torch.inference_mode()
    def strings(self, property: str) -> tuple[Float[Tensor, "1 D"], Float[Tensor, "K D"]]:
        """p, and v of each of `candidates.of(property)`."""
        values = self.candidates.of(property)
        if len(values) == 0:
            return torch.empty(1, self.vectors.shape[1]), torch.empty(0, self.vectors.shape[1])
        texts = [property, *(f"{property}{OF}{value}" for value in values)]
        tokens = self.stream.tokenizer.strings(texts, self.model.config.text.string_tokens)
        device = next(self.model.parameters()).device
        self.model.eval()
        vectors = self.model.encode_strings(torch.from_numpy(tokens).to(device)).float().cpu()
        return vectors[:1], vectors[1:]

    def scores(
        self, items: Float[Tensor, "n D"], property: Float[Tensor, "1 D"], values: Float[Tensor, "K D"]
    ) -> Float[Tensor, "n K"]:
        """Plausibility of each of a property's values for each item."""
        size = max(1, 2**24 // max(1, values.numel()))  # bounds the n x K x D differences
        parts = [self.plausibility(part[:, None], property, values[None]) for part in items.split(size)]
        return torch.cat(parts) if len(items) else torch.empty(0, len(values))

    def plausibility(
        self, item: Float[Tensor, "*#N D"], property: Float[Tensor, "*#N D"], value: Float[Tensor, "*#N D"]
    ) -> Float[Tensor, "*#N"]:
        """As the run's config has it."""
        return plausibility(item, property, value, self.model.config.loss)
