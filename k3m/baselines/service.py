"""PKGM (Zhang et al., "Billion-scale Pre-trained E-commerce Product Knowledge Graph Model", ICDE 2021, arXiv
2105.00388): a triple module ||h + r - t||, a relation module ||M_r h - r||, and service vectors h + r and M_r h - r of
an item's key relations, which a text model reads behind its words.

Departures. The paper has an embedding of its own for every item and value; here r and t are means of their tokens'
embeddings, and an item's h is the mean of t - r over the triples that its input shows, with a learnt vector as one
more: an item that training never saw has one, and no hidden triple is in it. Training takes out of h the triple that it
asks for. Key relations are the ten most frequent of the training triples, not of each category's, which may be what is
asked. The service vectors are tuned along with the text model, and both are pretrained together.

Legend: B items, E triples, S strings, W tokens of each, K key relations, G width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from graphstore import Store
from k3m.batch import ProductBatch
from k3m.losses import Mean
from k3m.text import TextTokenizer, Vocabulary

RELATIONS = 10
"""K, as in the paper."""
MARGIN = 1.0


class Service(nn.Module):
    """Both modules.

    Args:
        longest: tokens of a property at most.

    Attributes:
        relations: [K, longest] tokens of the key relations, padding alone for none; saved with the weights.
    """

    def __init__(self, vocabulary: Vocabulary, longest: int, width: int) -> None:
        super().__init__()
        self.pad, self.longest = vocabulary.pad, longest
        self.embedding, self.prior = nn.Embedding(vocabulary.size, width), nn.Parameter(torch.zeros(width))
        self.matrices = nn.Parameter(torch.eye(width).repeat(RELATIONS, 1, 1))
        self.norm, self.module = nn.LayerNorm(width), nn.Embedding(2, width)
        self.relations: Tensor
        self.register_buffer("relations", torch.full((RELATIONS, longest), vocabulary.pad))

    def learn(self, store: Store, tokenizer: TextTokenizer) -> None:
        """The key relations: the properties with most training triples."""
        counted = store.value_counts().to_pandas().groupby("property")["triples"].sum().reset_index()
        ranked = counted.sort_values(["triples", "property"], ascending=[False, True])["property"].head(RELATIONS)
        tokens = self._wide(torch.from_numpy(tokenizer.strings(ranked.tolist(), self.longest)))
        self.relations.fill_(self.pad)
        self.relations[: len(tokens)] = tokens

    def forward(self, batch: ProductBatch) -> tuple[Float[Tensor, "B 2K G"], Bool[Tensor, "B 2K"]]:
        """Service vectors, S_T of every key relation and then S_R, and which there are."""
        item = self._items(batch)[0]
        r = self._vectors(self.relations)
        both = torch.stack([item[:, None] + r, self._transformed(item) - r], dim=1)
        vectors = (self.norm(both) + self.module.weight[:, None]).flatten(1, 2)
        return vectors, self._there.repeat(2).expand(len(vectors), -1)

    def losses(self, batch: ProductBatch) -> dict[str, Mean]:
        """Hinges of both modules over the triples shown, each against one drawn replacement: a value of another triple
        of the batch; a key relation that the item does not show."""
        item, difference = self._items(batch)
        own = batch.triple_item
        shown = torch.bincount(own, minlength=len(item))[own, None]
        without = ((1 + shown) * item[own] - difference) / shown  # h, less the triple that is asked for
        return {"triple": self._triple_loss(batch, without), "relation": self._relation_loss(batch, without)}

    def _triple_loss(self, batch: ProductBatch, item: Float[Tensor, "E G"]) -> Mean:
        strings, value, number = self._vectors(batch.strings), batch.triple_value, len(batch.triple_value)
        other = value[torch.randint(max(number, 1), (number,), device=value.device)]
        place = item + strings[batch.triple_property]
        right, wrong = ((place - strings[rows]).abs().sum(1) for rows in (value, other))
        false = ~self._known(batch, other)
        return Mean((relu(MARGIN + right - wrong) * false).sum(), int(false.sum()))

    @staticmethod
    def _known(batch: ProductBatch, other: Int[Tensor, " E"]) -> Bool[Tensor, " E"]:
        """Whether the item has the value drawn for it: a value's string names its property too."""
        size = len(batch.strings)
        return torch.isin(batch.triple_item * size + other, batch.triple_item * size + batch.triple_value)

    def _relation_loss(self, batch: ProductBatch, item: Float[Tensor, "E G"]) -> Mean:
        own = batch.triple_item
        same = (self._wide(batch.strings)[batch.triple_property][:, None] == self.relations).all(-1) & self._there
        counted = same.new_zeros(len(batch.item), RELATIONS, dtype=torch.long).index_add(0, own, same.long())
        lacking = (counted == 0)[own] & self._there
        distance = (self._transformed(item) - self._vectors(self.relations)).abs().sum(-1)  # [E, K]
        draw = torch.rand(distance.shape, device=distance.device).masked_fill(~lacking, -1.0).argmax(1, keepdim=True)
        right, wrong = (distance * same).sum(1), distance.gather(1, draw)[:, 0]
        asked = same.any(1) & lacking.any(1)
        return Mean((relu(MARGIN + right - wrong) * asked).sum(), int(asked.sum()))

    def _items(self, batch: ProductBatch) -> tuple[Float[Tensor, "B G"], Float[Tensor, "E G"]]:
        """h of every item, and t - r of every triple."""
        strings, items = self._vectors(batch.strings), len(batch.item)
        difference = strings[batch.triple_value] - strings[batch.triple_property]
        total = self.prior.expand(items, -1).to(difference.dtype).index_add(0, batch.triple_item, difference)
        return total / (1 + torch.bincount(batch.triple_item, minlength=items))[:, None], difference

    def _transformed(self, item: Float[Tensor, "N G"]) -> Float[Tensor, "N K G"]:
        return torch.einsum("kgf,nf->nkg", self.matrices, item)

    def _vectors(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S G"]:
        there = (tokens != self.pad)[..., None]
        return (self.embedding(tokens) * there).sum(1) / there.sum(1).clamp(min=1)

    @property
    def _there(self) -> Bool[Tensor, " K"]:
        return (self.relations != self.pad).any(1)

    def _wide(self, tokens: Int[Tensor, "S W"]) -> Int[Tensor, "S longest"]:
        return pad(tokens, (0, self.longest - tokens.shape[1]), value=self.pad)
