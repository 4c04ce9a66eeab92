"""K3M (Zhu et al., "Knowledge Perceived Multi-modal Pretraining in E-commerce", ACM MM 2021; shared notes: paper.md
section 2).

Read `K3M.forward` as the paper's figure: encode each modality, interact, fuse, initialise the item, aggregate its
triples. `K3M.losses` adds the three objectives.

Legend: B items, L title tokens, M objects (one global, then the patches), S strings, E visible triples, Q hidden
triples, K negatives, D width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from k3m.aggregation import ItemInitialisation, StructureAggregation
from k3m.batch import ProductBatch
from k3m.config import Config
from k3m.encoders import PixelEncoder, TextEncoder, patch_pixels
from k3m.fusion import InitialInteractiveFusion
from k3m.heads import MaskedLanguageHead, MaskedObjectHead
from k3m.interaction import CoAttention
from k3m.losses import distance, margin_loss, masked_language_loss, masked_object_loss
from k3m.masking import IGNORED
from k3m.photographs import PATCH
from k3m.text import PAD


@dataclass(frozen=True)
class Outputs:
    """What one pass over a batch gives."""

    item: Float[Tensor, "B D"]
    """c*, the item's vector for every downstream task."""
    text: Float[Tensor, "B L D"]
    """Fused text."""
    image: Float[Tensor, "B M D"]
    """Fused image."""
    strings: Float[Tensor, "S D"]
    """p and v: the batch's property and value strings."""
    initial: Float[Tensor, "B D"]
    """c, the item before its triples were aggregated."""


class K3M(nn.Module):
    """The model of one run.

    Args:
        config: sizes, fusion variant, loss weights.
        vocabulary: WordPiece pieces of the run's tokenizer.
    """

    def __init__(self, config: Config, vocabulary: int) -> None:
        super().__init__()
        model, data, self.config = config.model, config.data, config
        width, heads, dropout = model.width, model.attention_heads, model.dropout
        longest = max(data.title_tokens, data.string_tokens)
        self.text_encoder = TextEncoder(vocabulary, longest, width, heads, model.text_layers, dropout)
        self.image_encoder = PixelEncoder(model.image_channels, width, heads, model.image_layers, dropout)
        self.interactor = CoAttention(width, heads, model.interaction_layers, dropout)
        self.fuse_text = InitialInteractiveFusion(width, model.fusion)
        self.fuse_image = InitialInteractiveFusion(width, model.fusion)
        self.initialise = ItemInitialisation(width, dropout)
        self.aggregate = StructureAggregation(width, model.aggregation_heads)
        self.mlm_head = MaskedLanguageHead(width, self.text_encoder.token)
        self.mom_head = MaskedObjectHead(width, 3 * PATCH * PATCH)
        _initialise_weights(self)

    def forward(self, batch: ProductBatch) -> Outputs:
        text, text_mask = self.text_encoder(batch.title), batch.title != PAD
        image, image_mask = self.image_encoder(batch.pixels, batch.has_image, batch.patches_zeroed)
        strings = self.text_encoder.encode_strings(batch.strings)

        text_informed, image_informed = self.interactor(text, text_mask, image, image_mask)
        text, image = self.fuse_text(text, text_informed), self.fuse_image(image, image_informed)

        initial = self.initialise(
            text, text_mask & batch.has_title[:, None], image, image_mask & batch.has_image[:, None]
        )
        item = self.aggregate(initial, strings, batch.triple_item, batch.triple_property, batch.triple_value)
        return Outputs(item, text, image, strings, initial)

    def anneal(self, progress: float) -> None:
        """Lower the Gumbel temperature of both fusions as training goes from 0 to 1."""
        for fusion in (self.fuse_text, self.fuse_image):
            fusion.temperature = 1.0 - 0.7 * progress

    def losses(self, batch: ProductBatch) -> dict[str, Float[Tensor, ""]]:
        """`lpm`, `mlm`, `mom`, unweighted, and their weighted sum `loss`, for a batch made for training."""
        out, weights = self(batch), self.config.loss
        parts = {
            "lpm": self._link_loss(batch, out),
            "mlm": self._title_loss(batch, out),
            "mom": self._object_loss(batch, out),
        }
        return parts | {"loss": weights.lpm * parts["lpm"] + weights.mlm * parts["mlm"] + weights.mom * parts["mom"]}

    def _link_loss(self, batch: ProductBatch, out: Outputs) -> Float[Tensor, ""]:
        """Margin loss over the hidden triples, with replaced values and replaced items (paper.md 2.3, LPM)."""
        assert batch.negative_values is not None
        assert batch.negative_items is not None
        assert batch.negative_values_mask is not None
        assert batch.negative_items_mask is not None
        norm, items, strings = self.config.loss.norm, out.item.float(), out.strings.float()
        item, prop, value = self._asking(batch, out), strings[batch.hidden_property], strings[batch.hidden_value]
        by_value = distance(item[:, None], prop[:, None], strings[batch.negative_values], norm)
        by_item = distance(items[batch.negative_items], prop[:, None], value[:, None], norm)
        mask = torch.cat([batch.negative_values_mask, batch.negative_items_mask], dim=1)
        negative = torch.cat([by_value, by_item], dim=1)
        return margin_loss(
            distance(item, prop, value, norm), negative, mask, batch.hidden_item, self.config.loss.margin
        )

    def _asking(self, batch: ProductBatch, out: Outputs) -> Float[Tensor, "Q D"]:
        """c* of each asked triple's item, which has not seen that triple."""
        if batch.hidden_edge is None:
            return out.item.float()[batch.hidden_item]
        triples = batch.triple_item, batch.triple_property, batch.triple_value
        return self.aggregate.leave_one_out(out.initial, out.strings, *triples).float()[batch.hidden_edge]

    def _title_loss(self, batch: ProductBatch, out: Outputs) -> Float[Tensor, ""]:
        assert batch.title_labels is not None
        asked = batch.title_labels != IGNORED
        return masked_language_loss(self.mlm_head(out.text[asked]), batch.title_labels[asked])

    def _object_loss(self, batch: ProductBatch, out: Outputs) -> Float[Tensor, ""]:
        assert batch.patches_asked is not None
        patches = out.image[:, 1:]  # the first object is the global one
        return masked_object_loss(
            self.mom_head(patches[batch.patches_asked]), patch_pixels(batch.pixels)[batch.patches_asked]
        )


def _initialise_weights(model: nn.Module) -> None:
    """Embeddings normal with deviation .02, as BERT's; matrices and convolutions keep torch's own, which follow their
    width."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
