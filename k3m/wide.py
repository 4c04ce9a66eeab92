"""The wide part: beside the deep model, a weight for each pair of something the item shows and a value (Cheng et al.,
"Wide & Deep Learning for Recommender Systems", DLRS 2016). It holds what is special about a word or a fact, which
vectors of a common width learn slowly. It is not in the paper.

Pairs are hashed into one table (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009), so
that it needs no list of words or values: what it has not met has weights near 0.

Legend: B items, L title tokens, F features an item at most, S strings, W tokens a string, K values, n of either.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from k3m.batch import ProductBatch
from k3m.text import Vocabulary

NONE = 0
"""The code of no feature."""
_MULTIPLIERS = 0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64
"""Odd, of 64 bits: those of splitmix and xxHash, whose products' high bits are well mixed."""


class WidePart(nn.Module):
    """Scores of values by the item's features: the sum of the weights of feature x value.

    Args:
        bits: the table has 2**bits weights; all 0 at first.
    """

    special: Tensor

    def __init__(self, bits: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.bits = bits
        self.weight = nn.Parameter(torch.zeros(2**bits))
        self.register_buffer("special", torch.tensor(vocabulary.special), persistent=False)

    def features(self, batch: ProductBatch) -> Int[Tensor, "B F"]:
        """Codes of the tokens of an item's title as far as it is shown, then of its visible values; `NONE` fills
        up."""
        return torch.cat([self._words(batch.title[: len(batch.item)]), self._facts(batch)], dim=1)

    def _words(self, title: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        return codes(title.flatten()[:, None]).view_as(title).masked_fill(torch.isin(title, self.special), NONE)

    def _facts(self, batch: ProductBatch) -> Int[Tensor, "B F"]:
        number = torch.bincount(batch.triple_item, minlength=len(batch.item))
        first = number.cumsum(0) - number
        place = torch.arange(len(batch.triple_item), device=number.device) - first[batch.triple_item]
        most = int(number.max()) if len(number) else 0
        facts = batch.title.new_full((len(number), most), NONE)
        return facts.index_put((batch.triple_item, place), codes(batch.strings)[batch.triple_value])

    def forward(self, features: Int[Tensor, "n F"], values: Int[Tensor, "n K"]) -> Float[Tensor, "n K"]:
        """`values`: their codes."""
        mixed = (features[:, :, None] ^ (values[:, None] * _MULTIPLIERS[1])) * _MULTIPLIERS[0]
        place = (mixed >> (64 - self.bits)) & (2**self.bits - 1)
        return (self.weight[place] * (features != NONE)[:, :, None]).sum(1)


def codes(tokens: Int[Tensor, "S W"]) -> Int[Tensor, " S"]:
    """A number of 62 bits for each row of tokens, however far it is padded; the same everywhere. Never `NONE`."""
    powers = torch.full((tokens.shape[1],), _MULTIPLIERS[1], device=tokens.device).cumprod(0)  # modulo 2**64
    mixed = (tokens * powers).sum(1) * _MULTIPLIERS[0]
    return (((mixed >> 32) ^ mixed) & (2**62 - 1)) | 1


def without_code(features: Int[Tensor, "n F"], code: Int[Tensor, " n"]) -> Int[Tensor, "n F"]:
    """Each row without one of its features."""
    return features.masked_fill(features == code[:, None], NONE)
