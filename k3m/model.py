"""K3M (Zhu et al., "Knowledge Perceived Multi-modal Pretraining in E-commerce", ACM MM 2021; shared notes: paper.md
section 2).

Read `K3M.encode` and `K3M.combine` as the paper's figure: encode each modality, interact, fuse, initialise the item,
aggregate its triples. `K3M.objectives` are the losses.

Legend: B items, A of them and those that share their values, L title tokens, M objects (one global, then those of the
front end), K strings or read pairs, E visible triples, Q hidden triples, D width, G that of the image stream.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from k3m.aggregation import ItemInitialisation, ScoredTriples, SharedValues, StructureAggregation
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.front_ends import image_front
from k3m.fusion import InitialInteractiveFusion
from k3m.heads import MaskedLanguageHead, MaskedObjectHead
from k3m.image_encoders import ImageEncoder, ReadyFront, TowerFront, visible_mean
from k3m.interaction import CoAttention
from k3m.losses import (
    Mean,
    distance,
    margin_loss,
    masked_language_loss,
    masked_object_loss,
    n3_penalty,
    plausibility,
    rejection_loss,
    softmax_loss,
)
from k3m.masking import IGNORED
from k3m.scoring import Items, Values, scores
from k3m.text import Vocabulary
from k3m.text_encoders import PretrainedEncoder, text_encoder
from k3m.wide import WidePart, codes, without_code

T = TypeVar("T", Tensor, float)


@dataclass(frozen=True)
class Knowledge:
    """p_x and v_x of the visible triples: rows of `vectors`."""

    vectors: Float[Tensor, "K D"]
    property: Int[Tensor, " E"]
    value: Int[Tensor, " E"]


@dataclass(frozen=True)
class Alone:
    """Each modality before it has seen another."""

    text: Float[Tensor, "A L D"]
    text_mask: Bool[Tensor, "A L"]
    image: Float[Tensor, "A M G"]
    image_mask: Bool[Tensor, "A M"]
    strings: Float[Tensor, "S D"]
    knowledge: Knowledge


@dataclass(frozen=True)
class Outputs:
    """What one pass over a batch gives."""

    item: Float[Tensor, "B D"]
    """c*, the item's vector for every downstream task."""
    text: Float[Tensor, "A L D"]
    """Fused text."""
    image: Float[Tensor, "A M G"]
    """Fused image."""
    initial: Float[Tensor, "B D"]
    """c, the item before its triples were aggregated."""
    triples: ScoredTriples
    """What was aggregated."""
    strings: Float[Tensor, "S D"]
    """p and v: the batch's property and value strings."""


class K3M(nn.Module):
    """The model of one run.

    Args:
        config: sizes, fusion variant, loss weights.
        vocabulary: of the run's tokenizer.
        architecture: of a pretrained text encoder, whose weights are fresh here all the same (`load_pretrained`).
    """

    share: SharedValues | None
    inverse: nn.Linear | None
    wide: WidePart | None

    def __init__(self, config: Config, vocabulary: Vocabulary, architecture: dict[str, Any] | None = None) -> None:
        super().__init__()
        model, self.config = config.model, config
        width, images, dropout = model.width, model.image_size, model.dropout
        modalities = 2 if model.presence else 0
        self.pad = vocabulary.pad
        self.text_encoder = text_encoder(config, vocabulary, architecture)
        self.image_encoder = ImageEncoder(image_front(config.image), images, config.image.layers, dropout)
        self.interactor = CoAttention(model)
        self.fuse_text = InitialInteractiveFusion(width, model.fusion, modalities)
        self.fuse_image = InitialInteractiveFusion(images.width, model.fusion, modalities)
        items = model.items_width
        self.widen = nn.Identity() if items == width else nn.Linear(width, items)
        widen = nn.Identity() if items == width else nn.Linear(width, items)
        self.initialise = ItemInitialisation(width, images.width, dropout, widen)
        self.share = SharedValues(items) if model.shared_values else None
        self.aggregate = StructureAggregation(items, model.aggregation_heads)
        self.inverse = nn.Linear(items, items) if config.loss.reciprocal else None
        self.wide = WidePart(model.wide_bits, vocabulary) if model.wide_bits else None
        self.mlm_head = MaskedLanguageHead(width, self.text_encoder.embedding)
        self.mom_head = MaskedObjectHead(images.width, self.image_encoder.front.target)
        _initialise_weights(self)

    def forward(self, batch: ProductBatch) -> Outputs:
        return self.combine(batch, self.encode(batch))

    def encode(self, batch: ProductBatch) -> Alone:
        """Each modality alone."""
        text = self.text_encoder(batch.title)
        image, image_mask = self.image_encoder(batch.photographs, batch.objects_zeroed)
        strings = self.encode_strings(batch.strings)
        return Alone(text, batch.title != self.pad, image, image_mask, strings, self._read(batch, strings))

    def combine(self, batch: ProductBatch, alone: Alone) -> Outputs:
        """Interact, fuse, initialise the item, aggregate its triples."""
        text_informed, image_informed = self.interactor(alone.text, alone.text_mask, alone.image, alone.image_mask)
        present = self._present(batch)
        text = self.fuse_text(alone.text, text_informed, present)
        image = self.fuse_image(alone.image, image_informed, present)

        text_valid = alone.text_mask & batch.has_title[:, None]
        image_valid = alone.image_mask & batch.photographs.present[:, None]
        every = self.initialise(text, text_valid, image, image_valid)
        initial, knowledge = every[: len(batch.item)], alone.knowledge
        if self.share is not None:
            knowledge = self._shared(batch, every, knowledge)
        triples = self.aggregate.score(
            initial, knowledge.vectors, batch.triple_item, knowledge.property, knowledge.value
        )
        return Outputs(self.aggregate(initial, triples), text, image, initial, triples, alone.strings)

    def encode_strings(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        """p and v, as wide as items."""
        return self.widen(self.text_encoder.encode_strings(tokens))

    def _read(self, batch: ProductBatch, strings: Float[Tensor, "S D"]) -> Knowledge:
        """The visible triples' properties and values, string by string or in their item's sequence."""
        if batch.sequences is None:
            return Knowledge(strings, batch.triple_property, batch.triple_value)
        assert batch.segments is not None
        number = 2 * len(batch.triple_item)
        place = torch.arange(0, number, 2, device=strings.device)
        vectors = self.widen(self.text_encoder.encode_segments(batch.sequences, batch.segments, number))
        return Knowledge(vectors, place, place + 1)

    def _shared(self, batch: ProductBatch, every: Float[Tensor, "A D"], knowledge: Knowledge) -> Knowledge:
        """Each visible triple's value, read with the items that share it."""
        assert self.share is not None
        assert batch.shared_item is not None
        assert batch.shared_triple is not None
        value = knowledge.vectors[knowledge.value]
        informed = self.share(value, every[batch.shared_item], batch.shared_triple)
        place = torch.arange(len(value), device=value.device) + len(knowledge.vectors)
        return Knowledge(torch.cat([knowledge.vectors, informed]), knowledge.property, place)

    def _present(self, batch: ProductBatch) -> Float[Tensor, "A 2"] | None:
        """Whether an item has a title and a photograph, for the gates."""
        if not self.config.model.presence:
            return None
        return torch.stack([batch.has_title, batch.photographs.present], dim=1).float()

    def features(self, batch: ProductBatch) -> Int[Tensor, "B F"] | None:
        """What the wide part, if there is one, reads of the items."""
        return None if self.wide is None else self.wide.features(batch)

    def values(self, tokens: Int[Tensor, "S W"], strings: Float[Tensor, "S D"]) -> Values:
        """What is scored of strings: their vectors, and what the wide part knows them by."""
        return Values(strings, None if self.wide is None else codes(tokens))

    @property
    def fusions(self) -> dict[str, InitialInteractiveFusion]:
        return {"text": self.fuse_text, "image": self.fuse_image}

    def anneal(self, progress: float) -> None:
        """Lower the Gumbel temperature of both fusions as training goes from 0 to 1."""
        for fusion in self.fusions.values():
            fusion.temperature = 1.0 - 0.7 * progress

    def objectives(self, batch: ProductBatch) -> dict[str, Mean]:
        """`lpm`, `mlm` and `mom`, and on request `rejected`, unweighted, for a batch made for training."""
        out = self(batch)
        link = self._margin if self.config.loss.link == "margin" else self._softmax
        found = {"lpm": link(batch, out), "mlm": self._title_loss(batch, out), "mom": self._object_loss(batch, out)}
        return found | ({"rejected": self._rejections(batch, out)} if self.config.loss.rejected else {})

    def losses(self, batch: ProductBatch) -> dict[str, Float[Tensor, ""]]:
        """The objectives' values, and their weighted sum `loss`."""
        return weighted({name: part.value for name, part in self.objectives(batch).items()}, self.config)

    def _margin(self, batch: ProductBatch, out: Outputs) -> Mean:
        """Over the hidden triples, with replaced values and replaced items (paper.md 2.3, LPM)."""
        assert batch.negative_values is not None
        assert batch.negative_items is not None
        assert batch.negative_values_mask is not None
        assert batch.negative_items_mask is not None
        loss, items, strings = self.config.loss, out.item.float(), out.strings.float()
        item, prop, value = self._asking(batch, out), strings[batch.hidden_property], strings[batch.hidden_value]
        by_value = distance(item[:, None], prop[:, None], strings[batch.negative_values], loss.norm)
        by_item = distance(items[batch.negative_items], prop[:, None], value[:, None], loss.norm)
        mask = torch.cat([batch.negative_values_mask, batch.negative_items_mask], dim=1)
        negative = torch.cat([by_value, by_item], dim=1)
        positive, of_item = distance(item, prop, value, loss.norm), batch.hidden_item
        return margin_loss(positive, negative, mask, of_item, loss.margin, batch.hidden_weight)

    def _softmax(self, batch: ProductBatch, out: Outputs) -> Mean:
        """The true value among the property's candidates; on request the true item among the batch's, and N3."""
        assert batch.negative_values is not None
        assert batch.negative_values_mask is not None
        assert batch.values_drawn_from is not None
        loss, strings, asked_of = self.config.loss, out.strings.float(), batch.hidden_item
        item, prop, value = self._asking(batch, out), strings[batch.hidden_property], strings[batch.hidden_value]
        items = Items(item, self._asking_features(batch))
        compared = self.values(batch.strings, strings)[_first(batch.hidden_value, batch.negative_values)]
        every = scores(items, prop, compared, loss, self.wide) / loss.temperature
        mask, weight = batch.negative_values_mask, batch.hidden_weight
        found = softmax_loss(every[:, 0], every[:, 1:], mask, batch.values_drawn_from, asked_of, weight)
        if self.inverse is not None:
            found += self._reciprocal(batch, out, item, self.inverse(prop), value)
        return found + loss.n3 * n3_penalty(item, prop, value, asked_of) if loss.n3 else found

    def _reciprocal(
        self,
        batch: ProductBatch,
        out: Outputs,
        item: Float[Tensor, "Q D"],
        inverse: Float[Tensor, "Q D"],
        value: Float[Tensor, "Q D"],
    ) -> Mean:
        """<value, inverse property, ?>: the true item among others of the batch."""
        assert batch.negative_items is not None
        assert batch.negative_items_mask is not None
        loss, mask = self.config.loss, batch.negative_items_mask
        true = plausibility(value, inverse, item, loss) / loss.temperature
        others = out.item.float()[batch.negative_items]
        scores = plausibility(value[:, None], inverse[:, None], others, loss) / loss.temperature
        return softmax_loss(true, scores, mask, mask.sum(1), batch.hidden_item, batch.hidden_weight)

    def _rejections(self, batch: ProductBatch, out: Outputs) -> Mean:
        """What people rejected, against the property's other candidates. Over all items of the batch: one that has a
        rejection counts as much as one that has a hidden triple."""
        assert batch.rejected_item is not None
        assert batch.rejected_value is not None
        assert batch.rejected_property is not None
        assert batch.rejected_others is not None
        assert batch.rejected_others_mask is not None
        assert batch.rejected_drawn_from is not None
        loss, strings = self.config.loss, out.strings.float()
        items = Items(out.item.float(), self.features(batch))[batch.rejected_item]
        compared = self.values(batch.strings, strings)[_first(batch.rejected_value, batch.rejected_others)]
        every = scores(items, strings[batch.rejected_property], compared, loss, self.wide)
        every = every / (loss.temperature if loss.link == "softmax" else 1.0)
        drawn = batch.rejected_others_mask, batch.rejected_drawn_from
        found = rejection_loss(every[:, 0], every[:, 1:], *drawn, batch.rejected_item, loss)
        return Mean(found.total, len(batch.item))

    def _asking(self, batch: ProductBatch, out: Outputs) -> Float[Tensor, "Q D"]:
        """c* of each asked triple's item, which has not seen that triple."""
        item = out.item.float()[batch.hidden_item]
        if batch.hidden_edge is None:
            return item
        without = self.aggregate.leave_one_out(out.initial, out.triples).float()
        shown = batch.hidden_edge >= 0
        return item.masked_scatter(shown[:, None], without[batch.hidden_edge[shown]])

    def _asking_features(self, batch: ProductBatch) -> Int[Tensor, "Q F"] | None:
        """Likewise what the wide part reads."""
        features = self.features(batch)
        if features is None:
            return None
        return without_code(features[batch.hidden_item], codes(batch.strings)[batch.hidden_value])

    def _title_loss(self, batch: ProductBatch, out: Outputs) -> Mean:
        assert batch.title_labels is not None
        asked = batch.title_labels != IGNORED
        return masked_language_loss(self.mlm_head(out.text[asked]), batch.title_labels[asked])

    def _object_loss(self, batch: ProductBatch, out: Outputs) -> Mean:
        assert batch.objects_asked is not None
        front, objects = self.image_encoder.front, out.image[:, 1:]  # the first object is the global one
        target = front.targets(batch.photographs)[batch.objects_asked]
        return masked_object_loss(self.mom_head(objects[batch.objects_asked]), target, front.by_class)

    @torch.no_grad()
    def object_floor(self, batch: ProductBatch) -> float | None:
        """The MOM loss of the mean of the tokens left to see, where a frozen tower makes them; None elsewhere."""
        front = self.image_encoder.front
        if front.by_class or not isinstance(front, ReadyFront):
            return None
        assert batch.objects_asked is not None
        assert batch.objects_zeroed is not None
        mean = visible_mean(batch.photographs, batch.objects_zeroed)
        predicted = mean[:, None].expand(*batch.objects_asked.shape, -1)
        target = front.targets(batch.photographs)[batch.objects_asked]
        return masked_object_loss(predicted[batch.objects_asked], target).value.item()


def _first(one: Int[Tensor, " n"], others: Int[Tensor, "n K"]) -> Int[Tensor, "n 1+K"]:
    return torch.cat([one[:, None], others], dim=1)


class Objectives(nn.Module):
    """A model's objectives as the pass that is shared between processes: sums, and over how many they go."""

    def __init__(self, model: K3M) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: ProductBatch) -> tuple[dict[str, Float[Tensor, ""]], dict[str, int]]:
        found = self.model.objectives(batch)
        return {name: part.total for name, part in found.items()}, {name: part.count for name, part in found.items()}


def weighted(values: dict[str, T], config: Config) -> dict[str, T]:
    """The objectives and their weighted sum, `loss`."""
    terms: list[Any] = [getattr(config.loss, name) * value for name, value in values.items()]
    return values | {"loss": sum(terms[1:], terms[0])}


def load_pretrained(model: K3M) -> dict[str, list[str]]:
    """Fill the parts whose weights come from elsewhere; by part, the names of tensors that were there in vain.

    Raises:
        CheckpointMismatch: naming the tensors that a checkpoint lacks.
        ValueError, OSError: for one that is not there.
    """
    text, image, unused = model.config.text, model.config.image, {}
    if isinstance(model.text_encoder, PretrainedEncoder):
        unused["text"] = model.text_encoder.load(text.checkpoint)
    if isinstance(model.image_encoder.front, TowerFront) and image.weights:
        model.image_encoder.front.load(image.tower, image.weights)
        unused["image"] = []
    return unused


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters by part, what two parts share counted with the first."""
    counts = dict.fromkeys((name for name, _ in model.named_children()), 0)
    for name, parameter in model.named_parameters():
        counts[name.split(".")[0]] += parameter.numel()
    assert sum(counts.values()) == sum(parameter.numel() for parameter in model.parameters())
    return counts


def _initialise_weights(model: nn.Module) -> None:
    """Embeddings normal with deviation .02, as BERT's; matrices and convolutions keep torch's own, which follow their
    width."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
