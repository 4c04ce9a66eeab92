"""Settings of a task's training."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["whole", "frozen"]
Pairs = Literal["concatenated", "compared"]


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    mode: Mode = "whole"
    """What is trained: the whole model, or the head alone over vectors that are computed once (frozen)."""
    cross: bool = False
    """align: read both items in one pass."""
    pairs: Pairs = "compared"
    """align: what the head is given, [c*_1 ; c*_2] as in the paper (concatenated), or beside them |c*_1 - c*_2| and
    their product (docs/log.md, Tasks)."""
    single: bool = False
    """A head of one layer; else it has one hidden layer."""
    dropout: float = 0.1
    """Of the head's input."""
    answers: int = 128
    """answer: candidates that a batch of training is ranked against, beside its own true values."""
    epochs: int = 10
    """Passes over the training examples at most."""
    batch_size: int = 64
    """Examples a step."""
    lr: float = 3e-4
    """Learning rate after warm-up, of what was pretrained."""
    head_lr: float = 1e-3
    """Likewise of what is new."""
    weight_decay: float = 0.01
    """AdamW's, on matrices."""
    warmup: float = 0.1
    """Share of the training over which the learning rates rise."""
    clip: float = 1.0
    """Largest gradient norm."""
    patience: int = 3
    """Stop after this many validations without a better one."""
    valid_every: int = 0
    """Steps between two validations; 0: an epoch."""
    valid_examples: int = 2000
    """Examples that a validation reads at most; 0: all."""
    max_minutes: float = 0.0
    """Stop in time; 0: no limit. The learning rate falls with the larger of the shares of steps and of minutes."""
    seed: int = 0
    """Of order, initial weights, dropout and drawn answers."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "answers", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 (got {getattr(self, name)})")
        for name in ("lr", "head_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be > 0 (got {getattr(self, name)})")
        if self.cross and self.mode == "frozen":
            raise ValueError("cross reads both items in one pass, which vectors computed once cannot: leave frozen out")
