"""A baseline: front ends that K3M shares with it, a mixer that makes it itself, and its objectives.

Legend: B items, R rows (items or pairs), L words, M objects, S answers, W tokens of each, D width.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from k3m.baselines.inputs import LONGEST, Words, soft_positions, visible_matrix, words_of
from k3m.baselines.layers import Mixed, Mixer
from k3m.baselines.service import Service
from k3m.baselines.visual_words import VisualWordFront
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.front_ends import image_front
from k3m.heads import MaskedLanguageHead, MaskedObjectHead
from k3m.image_encoders import ImageEncoder
from k3m.losses import Mean, masked_language_loss, masked_object_loss
from k3m.masking import IGNORED
from k3m.tasks.encoders import ItemEncoder
from k3m.text import Vocabulary
from k3m.text_encoders import PretrainedEncoder, TextEncoder, WordPieceEncoder

Objective = Literal["mlm", "mom", "match", "triple", "relation"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What makes a baseline itself."""

    source: str
    """The paper that its layout, objectives and masking follow."""
    mixer: type[Mixer]
    text: int
    """Layers of words alone, of a model of twelve layers; likewise the next two."""
    image: int
    """Of objects alone."""
    mixed: int
    """Of both."""
    pkg: bool
    """Whether the triples are spelt out behind the title."""
    reads_images: bool = True
    objectives: tuple[Objective, ...] = ("mlm", "mom")
    """mlm: words that are masked; mom: objects that are; match: whether title and photograph are one item's;
    triple, relation: PKGM's two modules."""
    one_masked: bool = False
    """At a step either words or objects are masked, never both."""
    tree: bool = False
    """Triples are branches of the sentence, with positions of their own and a visible matrix."""
    visual_words: bool = False
    """Objects are words of a vocabulary that k-means makes."""
    service: bool = False
    """The triples are read as service vectors, which stand where objects would."""

    @property
    def reads_triples(self) -> bool:
        return self.pkg or self.service

    def config(self, base: Config) -> Config:
        """Of its stream and sizes: the base's, less what it does not read."""
        hidden = (*(() if self.reads_images else ("image",)), *(() if self.reads_triples else ("graph",)))
        return replace(
            base,
            visible=replace(base.visible, without=tuple(dict.fromkeys((*base.visible.without, *hidden)))),
            text=replace(base.text, knowledge="sequence" if self.pkg else "strings"),
            data=replace(base.data, fan_out=(64,)),
            model=replace(base.model, shared_values=False),
            loss=replace(base.loss, leave_one_out=False),
        )


def scaled(layers: int, config: Config) -> int:
    """Of twelve layers, at the size of the config: K3M's text encoder has twelve at the paper's size, and of a small
    model no fewer than a third is left."""
    share = max(1 / 3, config.text.layers / 12)
    return max(1, round(layers * share)) if layers else 0


class Baseline(ItemEncoder):
    """See `Preset`.

    Args:
        config: as `Preset.config` gives it.
        architecture: of a pretrained text encoder, which takes the place of the layers of words alone; of a text model,
            of all of its layers.
    """

    pretrained = False
    """Whether its objectives have trained it (`baselines.pretraining`)."""

    def __init__(
        self, preset: Preset, config: Config, vocabulary: Vocabulary, architecture: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        if preset.tree and architecture is not None:
            raise ValueError(
                "kbert numbers its words itself, which no pretrained text encoder takes: it is from scratch"
            )
        sizes = config.model
        self.preset, self.config, self.vocabulary, self.width = preset, config, vocabulary, sizes.width
        self.architecture = architecture
        self.text_encoder = _text_encoder(preset, config, vocabulary, architecture)
        self.longest = LONGEST if architecture is None else int(architecture["max_position_embeddings"])
        self.kind, self.side = nn.Embedding(2, sizes.width), nn.Embedding(2, sizes.width)
        self.image_width = sizes.image_size.width
        if preset.reads_images:
            front = (
                VisualWordFront(config.image, self.image_width) if preset.visual_words else image_front(config.image)
            )
            self.image_encoder = ImageEncoder(front, sizes.image_size, scaled(preset.image, config), sizes.dropout)
        if preset.service:
            self.service = Service(vocabulary, config.text.string_tokens, self.image_width)
        beside = preset.reads_images or preset.service
        if beside:
            self.image_side = nn.Embedding(2, self.image_width)
        given = architecture is not None and not beside
        self.mixer = preset.mixer(sizes, 0 if given else scaled(preset.mixed, config))
        self.mlm_head = MaskedLanguageHead(sizes.width, self.text_encoder.embedding)
        if "mom" in preset.objectives:
            self.mom_head = MaskedObjectHead(self.image_width, front.target)
        if "match" in preset.objectives:
            self.match_head = nn.Linear(sizes.width, 1)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def encode(self, batch: ProductBatch) -> Float[Tensor, "B D"]:
        image, image_mask = self._objects(batch, None)
        return self._mix(words_of(batch, self.vocabulary, longest=self.longest), image, image_mask)[2]

    def encode_pairs(self, batch: ProductBatch) -> Float[Tensor, "n D"]:
        """Both titles (and triples) in one sequence of words, the objects of both photographs beside them."""
        image, image_mask = self._objects(batch, None)
        if self.preset.reads_images or self.preset.service:
            image = image + self.image_side.weight.repeat(len(image) // 2, 1)[:, None]
        pairs = image.unflatten(0, (-1, 2)).flatten(1, 2), image_mask.unflatten(0, (-1, 2)).flatten(1, 2)
        return self._mix(words_of(batch, self.vocabulary, pairs=True, longest=self.longest), *pairs)[2]

    def encode_answers(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        """The mean over the answer's words, read by all of the model that reads words."""
        first = torch.full_like(tokens[:, :1], self.vocabulary.cls)
        tokens = torch.cat([first, tokens], dim=1)
        mask = tokens != self.vocabulary.pad
        states = self.mixer.read(self.text_encoder(tokens) + self.kind.weight[0] + self.side.weight[0], mask)
        own = mask[:, 1:, None]
        return (states[:, 1:] * own).sum(1) / own.sum(1)

    def old(self) -> list[nn.Parameter]:
        if self.pretrained:
            return list(self.parameters())
        return [] if self.architecture is None else list(self.text_encoder.parameters())

    def _objects(
        self, batch: ProductBatch, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B M G"], Bool[Tensor, "B M"]]:
        if self.preset.service:
            return self.service(batch)
        if not self.preset.reads_images:
            rows = len(batch.item)
            none = torch.zeros(rows, 0, device=batch.title.device)
            return none[..., None].expand(rows, 0, self.image_width), none.bool()
        return self.image_encoder(batch.photographs, zeroed)

    def _mix(self, words: Words, image: Float[Tensor, "R M G"], image_mask: Bool[Tensor, "R M"]) -> Mixed:
        marks = self.kind(words.kind) + self.side(words.side)
        if self.preset.tree:
            states = self.text_encoder(words.tokens, soft_positions(words)) + marks
            return self.mixer(states, visible_matrix(words, self.vocabulary), image, image_mask)
        return self.mixer(self.text_encoder(words.tokens) + marks, words.mask, image, image_mask)

    # Pretraining

    def objectives(self, batch: ProductBatch) -> dict[str, Mean]:
        """Of a batch made for training. A pair that does not match is asked for nothing else."""
        words, wants = words_of(batch, self.vocabulary, longest=self.longest), self.preset.objectives
        masks_words, masks_objects = True, "mom" in wants
        if self.preset.one_masked:
            masks_words = bool(torch.rand(()) < 0.5)
            masks_objects = not masks_words
        if not masks_words:
            words = _unmasked(words)
        image, image_mask = self._objects(batch, batch.objects_zeroed if masks_objects else None)
        matches = torch.ones_like(batch.has_title)
        if "match" in wants:
            image, image_mask, matches = mismatched(batch, image, image_mask)
        text, image, whole = self._mix(words, image, image_mask)
        found = {"mlm": self._title_loss(words, text, matches)}
        if masks_objects:
            found["mom"] = self._object_loss(batch, image, matches)
        if "match" in wants:
            logits = self.match_head(whole)[:, 0].float()
            total = binary_cross_entropy_with_logits(logits, matches.float(), reduction="sum")
            found["match"] = Mean(total, len(logits))
        return found | (self.service.losses(batch) if self.preset.service else {})

    def _title_loss(self, words: Words, text: Float[Tensor, "R L D"], matches: Bool[Tensor, " R"]) -> Mean:
        asked = (words.labels != IGNORED) & matches[:, None]
        return masked_language_loss(self.mlm_head(text[asked]), words.labels[asked])

    def _object_loss(self, batch: ProductBatch, image: Float[Tensor, "R M G"], matches: Bool[Tensor, " R"]) -> Mean:
        assert batch.objects_asked is not None
        front = self.image_encoder.front
        asked = batch.objects_asked & matches[:, None]
        target = front.targets(batch.photographs)[asked]
        return masked_object_loss(self.mom_head(image[:, 1:][asked]), target, front.by_class)


def _text_encoder(
    preset: Preset, config: Config, vocabulary: Vocabulary, architecture: dict[str, Any] | None
) -> TextEncoder:
    if architecture is not None:
        return PretrainedEncoder(vocabulary, architecture, config.model.width, config.text.tuned)
    size, dropout = config.model.text_size, config.model.dropout
    return WordPieceEncoder(vocabulary, LONGEST, size, scaled(preset.text, config), dropout)


def _unmasked(words: Words) -> Words:
    asked = words.labels != IGNORED
    tokens = torch.where(asked, words.labels, words.tokens)
    return replace(words, tokens=tokens, labels=torch.full_like(words.labels, IGNORED))


def mismatched(
    batch: ProductBatch, image: Float[Tensor, "B M G"], mask: Bool[Tensor, "B M"]
) -> tuple[Float[Tensor, "B M G"], Bool[Tensor, "B M"], Bool[Tensor, " B"]]:
    """Half of the items that have a title and a photograph get the objects of the next such item; and who kept their
    own."""
    both = torch.nonzero(batch.has_title & batch.photographs.present)[:, 0]
    others = both.roll(1)
    chosen = (torch.rand(len(both), device=both.device) < 0.5) & (others != both)
    place = torch.arange(len(image), device=image.device)
    place[both[chosen]] = others[chosen]
    return image[place], mask[place], place == torch.arange(len(image), device=image.device)
