"""PyKEEN's TransE, DistMult, ComplEx, RotatE and TuckER through one adapter: built from settings, trained epoch by
epoch, scored by index, kept as safetensors.

Three trainings: `margin` and `nssa` (self-adversarial) tell a true triple from drawn ones; `all` is one against all, a
softmax over every entity that could stand in the tail's place (Lacroix et al. 2018; LibKGE's 1vsAll), with the cubes
of the factors as a penalty (N3). With `inverse`, each triple is learnt the other way round too, under a relation of
its own; heads are then asked for as tails of that relation.

PyKEEN gives models, losses and negatives. The loop is ours: PyKEEN's `LCWATrainingLoop` weighs a pair (head, relation)
alike whether it has one true tail or a thousand, and its checkpoints are pickles.

Legend: n triples, b pairs (head, relation), N entities, K candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from pykeen.losses import MarginRankingLoss, NSSALoss
from pykeen.models import ERModel, model_resolver
from pykeen.sampling import BasicNegativeSampler
from pykeen.triples import CoreTriplesFactory
from torch import Tensor
from torch.nn import functional

from analysis import weights
from k3m import rng
from k3m.candidates import Candidates
from k3m.ranks import CannotScore

Name = Literal["TransE", "DistMult", "ComplEx", "RotatE", "TuckER"]
Training = Literal["margin", "nssa", "all"]
MODELS: tuple[Name, ...] = get_args(Name)
_COMPLEX = ("ComplEx", "RotatE")
_RELATION = 32  # most numbers of a relation of TuckER


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one model and its training."""

    model: Name = "TransE"
    """Which."""
    training: Training = "nssa"
    """By margin or self-adversarially against drawn negatives, or one against all."""
    dimension: int = 128
    """Real numbers an entity; half as many complex ones."""
    norm: int = 2
    """Of TransE's distance, 1 or 2."""
    margin: float = 1.0
    """Of `margin` and `nssa`."""
    temperature: float = 1.0
    """`nssa`: of the softmax that weighs the negatives; less looks at the hardest."""
    negatives: int = 32
    """A true triple, for `margin` and `nssa`."""
    inverse: bool = False
    """Learn each triple the other way round too."""
    targets: Literal["all", "seen"] = "all"
    """`all`: the softmax is over all entities, or over those that training has as tails in this direction. In a
    catalogue items are no values; without them a pass costs a tenth."""
    smoothing: float = 0.0
    """`all`: share of the labels that is spread over all targets."""
    penalty: float = 0.0
    """Weight of N3: the mean over triples of the sums of their factors' cubes."""
    dropout: float = 0.0
    """Of TuckER's three places."""
    optimizer: Literal["adam", "adagrad"] = "adam"
    """Adagrad forgets nothing, which suits rare entities."""
    lr: float = 1e-3
    """Learning rate."""
    batch_size: int = 512
    """Triples; for `all` pairs (head, relation) with all of their tails."""

    def __post_init__(self) -> None:
        if self.norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2 (got {self.norm})")
        if self.model in _COMPLEX and self.dimension % 2:
            raise ValueError(f"dimension must be even for {self.model} (got {self.dimension})")

    def changed(self) -> dict[str, Any]:
        """The model, its training and what differs from the defaults."""
        usual = Settings()
        return {
            name: value
            for name, value in asdict(self).items()
            if name in ("model", "training") or value != getattr(usual, name)
        }


def _constructed(settings: Settings, factory: CoreTriplesFactory, seed: int) -> ERModel:
    """Without PyKEEN's own regularisation: N3 is the one penalty here."""
    own: dict[str, Any] = {"embedding_dim": settings.dimension // (2 if settings.model in _COMPLEX else 1)}
    if settings.model in ("TransE", "DistMult"):
        # On the unit sphere distances and products are too small for a softmax; a margin needs the bound.
        bound = functional.normalize if settings.training == "margin" else None
        own |= {"entity_constrainer": bound, "entity_initializer": "xavier_normal"}
    if settings.model == "TransE":
        own |= {"scoring_fct_norm": settings.norm, "relation_initializer": "xavier_normal"}
    if settings.model in ("DistMult", "ComplEx"):
        own |= {"regularizer": "no", "regularizer_kwargs": {"weight": 0.0}}
    if settings.model == "ComplEx":
        own |= {"entity_initializer": "xavier_normal", "relation_initializer": "xavier_normal"}
    if settings.model == "TuckER":
        own |= {f"dropout_{place}": settings.dropout for place in range(3)}
        own["relation_dim"] = min(settings.dimension, _RELATION)  # the core is the cost; relations are few
    loss = (
        NSSALoss(margin=settings.margin, adversarial_temperature=settings.temperature)
        if settings.training == "nssa"
        else MarginRankingLoss(margin=settings.margin)
    )
    model = model_resolver.make(settings.model, triples_factory=factory, random_seed=seed, loss=loss, **own)
    assert isinstance(model, ERModel)
    return model


class Embedding:
    """A model on the triples that it learns."""

    def __init__(
        self, settings: Settings, triples: Int64[Tensor, "n 3"], num_entities: int, num_relations: int, seed: int = 0
    ) -> None:
        """
        Args:
            triples: head, relation, tail.
            num_relations: without inverse ones.
        """
        self.settings, self.seed, self.epoch = settings, seed, 0
        self.num_entities, self.num_relations = num_entities, num_relations
        self.triples = triples
        if settings.inverse:
            self.triples = torch.cat([triples, self.inverted(triples)])
        factory = CoreTriplesFactory(
            mapped_triples=self.triples,
            num_entities=num_entities,
            num_relations=num_relations * (2 if settings.inverse else 1),
        )
        self.model = _constructed(settings, factory, seed)
        kind = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[settings.optimizer]
        self.optimizer: torch.optim.Optimizer = kind(self.model.parameters(), lr=settings.lr)
        self._sampler = BasicNegativeSampler(
            mapped_triples=self.triples,
            num_entities=num_entities,
            num_relations=factory.num_relations,
            num_negs_per_pos=settings.negatives,
        )
        self._normalises = settings.model == "TuckER"
        forwards = self.triples[:, 1] < num_relations
        self._targets = [self._tails_of(self.triples[forwards]), self._tails_of(self.triples[~forwards])]

    def _tails_of(self, triples: Int64[Tensor, "n 3"]) -> Int64[Tensor, " K"]:
        """What a tail is told from, by a softmax, sorted."""
        return triples[:, 2].unique() if self.settings.targets == "seen" else torch.arange(self.num_entities)

    def inverted(self, triples: Int64[Tensor, "n 3"]) -> Int64[Tensor, "n 3"]:
        """The same, said of the tail."""
        return torch.stack([triples[:, 2], triples[:, 1] + self.num_relations, triples[:, 0]], dim=1)

    def train_epoch(self) -> float:
        """Once through the triples; the mean loss.

        Raises:
            FloatingPointError: where it is not finite, before the step that would use it.
        """
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            # Of this epoch alone, so that a training that was stopped goes on as if it had not been.
            torch.manual_seed(rng.torch_seed(self.seed, "embedding", self.epoch))
            losses = [self._step(loss) for loss in self._losses()]
        self.epoch += 1
        return sum(losses) / len(losses)

    def _losses(self) -> Iterator[Float[Tensor, ""]]:
        if self.settings.training != "all":
            for rows in self._batches(len(self.triples)):
                yield self._against_drawn(self.triples[rows])
            return
        pairs, pair_of = torch.unique(self.triples[:, :2], dim=0, return_inverse=True)
        tails = self.triples[pair_of.argsort(stable=True), 2].split(pair_of.bincount().tolist())
        for chosen in self._batches(len(pairs)):
            yield self._against_all(pairs[chosen], [tails[pair] for pair in chosen.tolist()])

    def _batches(self, number: int) -> list[Int64[Tensor, " b"]]:
        """Of a new order; for TuckER, whose batch normalisation needs two rows of one direction, none of under three
        but where there is no other."""
        batches = list(torch.randperm(number).split(self.settings.batch_size))
        return batches[:-1] if self._normalises and len(batches) > 1 and len(batches[-1]) < 3 else batches

    def _step(self, loss: Float[Tensor, ""]) -> float:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.settings.model}: the loss is {loss.item()} in epoch {self.epoch}")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.model.post_parameter_update()
        return loss.item()

    def _against_drawn(self, triples: Int64[Tensor, "n 3"]) -> Float[Tensor, ""]:
        negatives, _ = self._sampler.sample(triples)
        scores = self.model.score_hrt(negatives.view(-1, 3)).view(negatives.shape[:2])
        loss = self.model.loss.process_slcwa_scores(self.model.score_hrt(triples), scores)
        return loss + self._penalty(triples)

    def _against_all(self, pairs: Int64[Tensor, "b 2"], tails: list[Int64[Tensor, " t"]]) -> Float[Tensor, ""]:
        """The mean over triples of -log p(tail): a pair's scores are computed once for all of its tails."""
        rows = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(each) for each in tails]))
        triples = torch.cat([pairs[rows], torch.cat(tails)[:, None]], dim=1)
        total = torch.zeros(())
        for inverse, targets in enumerate(self._targets):
            chosen = torch.nonzero((pairs[:, 1] >= self.num_relations) == bool(inverse)).flatten()
            if len(chosen) > (1 if self._normalises else 0):
                asked = torch.isin(rows, chosen)
                surprise = -self.score_tails(pairs[chosen], targets).log_softmax(dim=1)
                row = torch.searchsorted(chosen, rows[asked])
                total = total + self._smoothed(surprise, row, torch.searchsorted(targets, triples[asked, 2])).sum()
        return total / len(triples) + self._penalty(triples)

    def _smoothed(
        self, surprise: Float[Tensor, "b K"], row: Int64[Tensor, " n"], column: Int64[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        exact, smoothing = surprise[row, column], self.settings.smoothing
        return (1 - smoothing) * exact + smoothing * surprise.mean(dim=1)[row] if smoothing else exact

    def _penalty(self, triples: Int64[Tensor, "n 3"]) -> Float[Tensor, ""]:
        if not self.settings.penalty:
            return torch.zeros(())
        factors = (self._entities(triples[:, 0]), self._relations(triples[:, 1]), self._entities(triples[:, 2]))
        cubes = torch.stack([(each.abs() ** 3).sum(dim=-1).mean() for each in factors])
        return self.settings.penalty * cubes.sum()

    def _entities(self, indices: Tensor | None = None) -> Tensor:
        return self.model.entity_representations[0](indices)

    def _relations(self, indices: Tensor) -> Tensor:
        return self.model.relation_representations[0](indices)

    def score_tails(
        self, pairs: Int64[Tensor, "b 2"], among: Int64[Tensor, " K"] | None = None
    ) -> Float[Tensor, "b K"]:
        """Of the pairs (head, relation) with each entity of `among`, or with each there is.

        By a product of matrices, but for TuckER, which does so itself, and TransE's norm 1, which has none: PyKEEN's
        broadcast of a distance would hold b x K x dimension numbers.
        """
        if self.settings.model == "TuckER" or (self.settings.model == "TransE" and self.settings.norm == 1):
            return self.model.score_t(pairs, tails=among)
        head, relation, tails = self._entities(pairs[:, 0]), self._relations(pairs[:, 1]), _real(self._entities(among))
        if self.settings.model == "TransE":
            return -torch.cdist(_real(head + relation), tails)
        if self.settings.model == "RotatE":
            return -torch.cdist(_real(head * relation), tails)
        return _real(head * relation) @ tails.T  # DistMult; ComplEx: the real part of <h r, conj t>

    def score_heads(self, pairs: Int64[Tensor, "b 2"]) -> Float[Tensor, "b N"]:
        """Of each entity as the head of the pairs (tail, relation)."""
        if self.settings.inverse:
            return self.score_tails(pairs + torch.tensor([0, self.num_relations]))
        return self.model.score_h(pairs.flip(1))

    def save(self, path: Path) -> None:
        """What a training goes on from."""
        weights.save(path, self.model, self.optimizer, self.epoch)

    def load(self, path: Path) -> None:
        """Go on from there."""
        self.epoch = weights.load(path, self.model, self.optimizer)


def _real(vectors: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones: Euclidean distances, and real parts of products with conjugates, are the
    same."""
    return torch.view_as_real(vectors).flatten(start_dim=-2) if vectors.is_complex() else vectors


class CatalogueGraph:
    """Training triples of a catalogue by index: an item and a value of one name are two entities."""

    def __init__(self, training: pd.DataFrame) -> None:
        """
        Args:
            training: columns item, property, value.
        """
        self.items = pd.Index(training["item"].unique())
        self.values = pd.Index(training["value"].unique())
        self.properties = pd.Index(training["property"].unique())
        heads = self.items.get_indexer(training["item"])
        tails = len(self.items) + self.values.get_indexer(training["value"])
        relations = self.properties.get_indexer(training["property"])
        self.triples = torch.from_numpy(np.stack([heads, relations, tails], axis=1).astype(np.int64))

    def embedding(self, settings: Settings, seed: int = 0) -> Embedding:
        """Untrained."""
        return Embedding(settings, self.triples, len(self.items) + len(self.values), len(self.properties), seed)


class EmbeddingPredictor:
    """An embedding of a catalogue's graph as a predictor (`k3m.ranks.Predictor`)."""

    def __init__(self, embedding: Embedding, graph: CatalogueGraph, candidates: Candidates) -> None:
        self.embedding, self.graph, self.candidates = embedding, graph, candidates

    @torch.inference_mode()
    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """The model's own scores.

        Raises:
            CannotScore: naming an item without a training triple.
        """
        values = self.candidates.of(property)
        if len(values) == 0:
            return np.zeros((len(items), 0))
        heads = self.graph.items.get_indexer(pd.Index(items))
        if (heads < 0).any():
            unknown = items[int(np.argmin(heads))]
            raise CannotScore(f"item {unknown!r} has no training triple: an embedding cannot score it")
        pairs = np.stack([heads, np.full(len(heads), self.graph.properties.get_loc(property))], axis=1)
        tails = len(self.graph.items) + self.graph.values.get_indexer(pd.Index(values, dtype=object))
        self.embedding.model.eval()
        scores = self.embedding.score_tails(torch.from_numpy(pairs.astype(np.int64)), torch.from_numpy(tails))
        return scores.double().numpy()
