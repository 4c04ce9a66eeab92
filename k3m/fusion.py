"""IFFM, the initial-interactive feature fusion module (paper.md 2.2.2): per token or object, keep what the modality
knew alone (h0) or what it learnt from the other, so that a missing or wrong partner cannot ruin it. Legend: B items,
L tokens or objects, D width, R modalities."""

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from k3m.config import Fusion

PREFERS_ALONE = 2.0
"""Initial bias of the gates towards the individual feature: at 0 the hard choice would begin as a coin toss in every
dimension, noise that halves the speed of learning (docs/log.md)."""


class InitialInteractiveFusion(nn.Module):
    """One modality's fusion.

    Args:
        variant: `mean`, `soft` (gated sum through W_s), `hard` (one of the two per dimension, straight-through
            Gumbel-softmax while training and the arg-max at evaluation, so that the same input gives the same vector),
            or `off` (the interactive feature).
        modalities: R, how many the gates are told the presence of; 0 for none.
    """

    def __init__(self, width: int, variant: Fusion, modalities: int = 0) -> None:
        super().__init__()
        if variant not in get_args(Fusion):
            raise ValueError(f"model.fusion must be one of {', '.join(get_args(Fusion))} (got {variant!r})")
        self.variant = variant
        self.kept_alone: Float[Tensor, "B L"] | None = None
        """Of the last pass, of each token or object the share of what the gates took that was the individual
        feature; None without gates."""
        self.temperature = 1.0
        if variant in ("soft", "hard"):
            self.gate_alone, self.gate_interactive = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
            nn.init.constant_(self.gate_alone.bias, PREFERS_ALONE)
        if variant in ("soft", "hard") and modalities:
            self.gate_presence = nn.Linear(modalities, 2 * width, bias=False)
        if variant == "soft":
            self.mix = nn.Linear(2 * width, width)

    def forward(
        self,
        alone: Float[Tensor, "B L D"],
        interactive: Float[Tensor, "B L D"],
        present: Float[Tensor, "B R"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        if self.variant == "off":
            return interactive
        if self.variant == "mean":
            return (alone + interactive) / 2
        scores_alone, scores_interactive = self._scores(alone, interactive, present)
        if self.variant == "soft":
            gate_alone, gate_interactive = scores_alone.sigmoid(), scores_interactive.sigmoid()
            self.kept_alone = (gate_alone / (gate_alone + gate_interactive)).detach().float().mean(-1)
            return self.mix(torch.cat([gate_alone * alone, gate_interactive * interactive], dim=-1))
        take_alone = self._choose(scores_alone - scores_interactive)
        self.kept_alone = take_alone.detach().float().mean(-1)
        return take_alone * alone + (1 - take_alone) * interactive

    @property
    def share_alone(self) -> Float[Tensor, ""] | None:
        """`kept_alone` over all tokens or objects."""
        return None if self.kept_alone is None else self.kept_alone.mean()

    def _scores(self, alone: Tensor, interactive: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Un-squashed gate scores: a sigmoid before the Gumbel-softmax would cap the strongest preference at 73 %."""
        both = torch.cat([alone, interactive], dim=-1)
        scores = self.gate_alone(both), self.gate_interactive(both)
        if present is None:
            return scores
        told_alone, told_interactive = self.gate_presence(present)[:, None].chunk(2, -1)
        return scores[0] + told_alone, scores[1] + told_interactive

    def _choose(self, preference: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """1 where the individual feature is taken, else 0. The Gumbel-softmax of two is a sigmoid of their difference
        plus logistic noise."""
        if not self.training:
            return (preference > 0).to(preference.dtype)
        uniform = torch.rand_like(preference, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((preference + torch.logit(uniform)) / self.temperature)
        return (soft > 0.5).to(soft.dtype) + soft - soft.detach()
