"""What scores of values are computed from, and the scores.

Legend: n items or questions, K values, D width, F features of the wide part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from k3m.config import LossConfig
from k3m.losses import plausibility
from k3m.wide import NONE, WidePart


@dataclass(frozen=True)
class Items:
    """What is known of items."""

    vectors: Float[Tensor, "n D"]
    """c*."""
    features: Int[Tensor, "n F"] | None
    """Of a model with a wide part."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Tensor | slice) -> Self:
        return type(self)(self.vectors[rows], None if self.features is None else self.features[rows])

    def cpu(self) -> Self:
        return type(self)(self.vectors.float().cpu(), None if self.features is None else self.features.cpu())

    @classmethod
    def joined(cls, parts: Sequence["Items"]) -> Self:
        """One after the other."""
        features = [part.features for part in parts if part.features is not None]
        most = max((part.shape[1] for part in features), default=0)
        whole = [pad(part, (0, most - part.shape[1]), value=NONE) for part in features]
        return cls(torch.cat([part.vectors for part in parts]), torch.cat(whole) if whole else None)


@dataclass(frozen=True)
class Values:
    """What is known of values."""

    vectors: Float[Tensor, "*n K D"]
    codes: Int[Tensor, "*n K"] | None
    """Of a model with a wide part."""

    def __getitem__(self, rows: Tensor | slice) -> Self:
        return type(self)(self.vectors[rows], None if self.codes is None else self.codes[rows])


def scores(
    items: Items,
    property: Float[Tensor, "#n D"],
    values: Values,
    loss: LossConfig,
    wide: WidePart | None,
) -> Float[Tensor, "n K"]:
    """Of each item's values [n, K], or of the same [K] for all: higher is more plausible."""
    deep = plausibility(items.vectors[:, None], property[:, None], values.vectors, loss)
    if wide is None:
        return deep
    assert items.features is not None
    assert values.codes is not None
    return deep + wide(items.features, values.codes.expand(deep.shape))
