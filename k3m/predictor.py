"""What a trained model says of items: their vectors c*, and scores of candidate values. Legend: n items, K
candidates, D width."""

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from k3m.candidates import Candidates
from k3m.model import K3M
from k3m.scoring import Items, Values, scores
from k3m.streaming import Stream
from k3m.text import OF


def embed(
    model: K3M, stream: Stream, items: NDArray[np.int64], without: Collection[str] = (), progress: bool = False
) -> Items:
    """The items (ordinals of the stream's store): c* and what the wide part reads, from all of their training triples,
    less the modalities in `without`."""
    found = list(embedded(model, stream, items, without, progress))
    nothing = Items(torch.empty(0, model.config.model.items_width), None)
    return Items.joined(found) if found else nothing


@torch.inference_mode()
def embedded(
    model: K3M, stream: Stream, items: NDArray[np.int64], without: Collection[str] = (), progress: bool = False
) -> Iterator[Items]:
    """`embed`, batch by batch."""
    model.eval()
    device = next(model.parameters()).device
    for batch in tqdm(stream.evaluation(items, without), desc="items", unit="batch", disable=not progress):
        moved = batch.to(device)
        yield Items(model(moved).item, model.features(moved)).cpu()


class ModelPredictor:
    """Scores candidate values for items whose vectors are computed once; higher is more plausible."""

    def __init__(self, model: K3M, stream: Stream, ids: Sequence[str], items: Items) -> None:
        self.model, self.stream, self.items = model, stream, items
        # Scores are computed where the vectors are kept, and belong to the weights that made those.
        self.wide = None if model.wide is None else deepcopy(model.wide).cpu()
        self.candidates: Candidates = stream.candidates
        self.row = {item: row for row, item in enumerate(ids)}

    @classmethod
    def of(
        cls, model: K3M, stream: Stream, items: Sequence[str], without: Collection[str] = (), progress: bool = False
    ) -> "ModelPredictor":
        return cls(model, stream, items, embed(model, stream, stream.store.item_ords(items), without, progress))

    @torch.inference_mode()
    def score(self, property: str, items: Sequence[str]) -> NDArray[np.float32]:
        """[n, K], higher is better; columns as `candidates.of(property)`."""
        rows = torch.tensor([self.row[item] for item in items], dtype=torch.long)
        return self.scores(self.items[rows], *self.strings(property)).numpy()

    @torch.inference_mode()
    def strings(self, property: str) -> tuple[Float[Tensor, "1 D"], Values]:
        """p, and each of `candidates.of(property)`."""
        texts = [property, *(f"{property}{OF}{value}" for value in self.candidates.of(property))]
        tokens = torch.from_numpy(self.stream.tokenizer.strings(texts, self.model.config.text.string_tokens))
        device = next(self.model.parameters()).device
        self.model.eval()
        vectors = self.model.encode_strings(tokens.to(device)).float().cpu()
        return vectors[:1], self.model.values(tokens, vectors)[1:]

    def scores(self, items: Items, property: Float[Tensor, "1 D"], values: Values) -> Float[Tensor, "n K"]:
        """Of values [n, K] of the items, or of the same [K] for all: higher is more plausible."""
        number = values.vectors.shape[-2]
        width = max(values.vectors.shape[-1], 0 if items.features is None else items.features.shape[1])
        size = max(1, 2**24 // max(1, number * width))  # bounds what is K times as wide as an item
        if len(items) == 0:
            return torch.empty(0, number)
        own = values.vectors.dim() == 3
        return torch.cat(
            [
                scores(items[part], property, values[part] if own else values, self.model.config.loss, self.wide)
                for part in (slice(first, first + size) for first in range(0, len(items), size))
            ]
        )
