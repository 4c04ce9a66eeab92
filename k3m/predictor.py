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
        values = self.candidates.of(property)
        if len(values) == 0:
            return np.empty((len(items), 0), dtype=np.float32)
        self.model.eval()
        strings = self._strings([property, *(f"{property}{OF}{value}" for value in values)])
        rows = torch.tensor([self.row[item] for item in items], dtype=torch.long)
        scores = [
            plausibility(self.vectors[chunk][:, None], strings[:1], strings[None, 1:], self.model.config.loss)
            for chunk in rows.split(max(1, 2**24 // strings.numel()))  # bounds the n x K x D differences
        ]
        return torch.cat(scores).numpy() if scores else np.empty((0, len(values)), dtype=np.float32)

    def _strings(self, texts: Sequence[str]) -> Float[Tensor, "S D"]:
        tokens = self.stream.tokenizer.strings(texts, self.model.config.text.string_tokens)
        device = next(self.model.parameters()).device
        return self.model.encode_strings(torch.from_numpy(tokens).to(device)).float().cpu()
