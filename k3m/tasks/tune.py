"""Tuning and evaluation of every model on every task.

What other packages call (`models.tuned_by` builds encoder and tokenizer of a model by its name, and tunes it):

    tuned = models.tuned_by("k3m", data, source, TaskConfig(max_minutes=5), run=run)
    found = tune.evaluate(tuned, data, corrupted_source)      # part="test" by default
    found.metrics["accuracy"], found.outcomes                 # a row an example: group, outcome

Nothing random is kept between steps: order, dropout and drawn answers of a step follow from (seed, step).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from time import monotonic
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm import tqdm

from graphstore import Store
from k3m import rng
from k3m.batch import ProductBatch
from k3m.config import OptimConfig
from k3m.losses import NonFiniteLoss
from k3m.optimisation import parameter_groups, uses_bf16
from k3m.tasks import align, answer, classify
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, Part, TaskData
from k3m.tasks.encoders import ItemEncoder, moved
from k3m.tasks.neural import NeuralTuned, info_of
from k3m.tasks.schedule import rate_at
from k3m.tasks.scoring import Tuned
from k3m.tasks.view import QuestionTokenizer

Rows: TypeAlias = NDArray[np.int64]
CHOSEN_BY = {"classify": "accuracy", "align": "f1", "answer": "mrr"}
"""The figure on valid by which a training stops and keeps its weights."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one part, and what they are made of."""

    metrics: dict[str, float]
    """classify: accuracy, macro_f1. align: f1, macro_f1, accuracy, auc, threshold. answer: rank_at_10, mrr among all
    values; own_rank_at_10, own_mrr among the property's own. All: n."""
    outcomes: pd.DataFrame
    """In the order of the part's examples: group, outcome (1 right and 0 wrong; answer: the reciprocal rank among all
    values); classify and align also label and predicted; answer also own (the reciprocal rank among the property's
    own) and property."""


def evaluate(tuned: Tuned, data: TaskData, source: Store, part: Part = "test") -> Evaluation:
    """Figures of a tuned model on one part, its input read from `source` (the store, or a view of it that is
    corrupted); what is true is `data`'s."""
    examples = data.part(part)
    return judged(tuned.scores(examples, source), examples, data, tuned.threshold)


def judged(scores: np.ndarray, examples: Examples, data: TaskData, threshold: float = 0.0) -> Evaluation:
    """Figures of scores, whoever made them."""
    if data.task == "classify":
        found = classify.outcomes(scores, examples)
        return Evaluation(classify.metrics(found), found)
    if data.task == "align":
        found = align.outcomes(scores, examples, threshold)
        return Evaluation(align.metrics(found) | {"threshold": threshold}, found)
    found = answer.outcomes(scores, examples, data)
    return Evaluation(answer.metrics(found), found)


def with_threshold(tuned: Tuned, data: TaskData, source: Store) -> None:
    """Choose the threshold of alignment on valid."""
    if data.task == "align":
        tuned.threshold = align.best_threshold(tuned.scores(data.valid, source), data.valid.labels)


def tune(
    name: str,
    encoder: ItemEncoder,
    tokenizer: QuestionTokenizer,
    data: TaskData,
    source: Store,
    config: TaskConfig,
    origin: Mapping[str, object] | None = None,
    kind: type[NeuralTuned] = NeuralTuned,
) -> NeuralTuned:
    """Train an encoder with a head for the task, or the head alone; the weights that are best on valid are kept.

    Raises:
        NonFiniteLoss: before the optimiser would spread it over the weights.
    """
    torch.manual_seed(rng.torch_seed(config.seed, "head"))
    tuned = kind(encoder, tokenizer, info_of(name, data, config, origin))
    if config.mode == "frozen":
        encoder.requires_grad_(False)
    Tuning(tuned, data, source).fit()
    with_threshold(tuned, data, source)
    return tuned


class Tuning:
    """One training."""

    def __init__(self, tuned: NeuralTuned, data: TaskData, source: Store) -> None:
        self.tuned, self.data, self.source, self.config = tuned, data, source, tuned.config
        self.train = _asked(data)
        self.valid = data.valid.first(self.config.valid_examples, "valid")
        self.frozen = self.config.mode == "frozen"
        if data.task == "answer":
            self.true, self.also = answer.true_columns(self.train, data.answers), answer.other_true(self.train, data)
        if self.frozen:
            self._read_once()
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98))
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.steps_per_epoch = -(-len(self.train) // self.config.batch_size)
        self.steps = self.config.epochs * self.steps_per_epoch

    def fit(self) -> None:
        """Steps until the end of the epochs, of the time, or of patience."""
        self.begun, best, worse, kept = monotonic(), -1.0, 0, None
        due = self.config.valid_every or self.steps_per_epoch
        bar = tqdm(total=self.steps, desc=f"{self.tuned.name} {self.data.task}", unit="step", smoothing=0.05)
        with bar:
            for step, rows, read in self._batches():
                loss = self._step(step, rows, read)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", best=f"{best:.4f}")
                late = self._share(step + 1) >= 1
                if (step + 1) % due and not late:
                    continue
                found = self._validate()
                self.tuned.history.append(
                    {"step": step + 1, "minutes": self._minutes, "loss": loss, CHOSEN_BY[self.data.task]: found}
                )
                worse = 0 if found > best else worse + 1
                if found > best:
                    best, kept = found, copy.deepcopy(self._trained().state_dict())
                if late or worse >= self.config.patience:
                    break
        if kept is not None:
            self._trained().load_state_dict(kept)
            self.tuned.encoder.train()  # what it remembers of strings was encoded by the last weights, not these

    def _trained(self) -> torch.nn.Module:
        return self.tuned.head if self.frozen else self.tuned.whole

    @property
    def _minutes(self) -> float:
        return (monotonic() - self.begun) / 60

    def _share(self, step: int) -> float:
        """Of the training that is over: of its steps or its minutes, whichever is more."""
        of_time = self._minutes / self.config.max_minutes if self.config.max_minutes else 0.0
        return min(1.0, max(step / self.steps, of_time))

    def _groups(self) -> list[dict[str, object]]:
        """What was pretrained, and what is new, each with its learning rate."""
        optim = OptimConfig(weight_decay=self.config.weight_decay)
        encoder, head = self.tuned.encoder, self.tuned.head
        old = {id(weights) for weights in encoder.old()}
        parts = {True: torch.nn.ParameterList(), False: torch.nn.ParameterList()}
        for weights in [*encoder.parameters(), *head.parameters()]:
            parts[id(weights) in old].append(weights)
        rates = {True: self.config.lr, False: self.config.head_lr}
        return [
            group | {"lr": rates[known]} for known, part in parts.items() for group in parameter_groups(part, optim)
        ]

    def _batches(self) -> Iterator[tuple[int, Rows, ProductBatch | None]]:
        """(step, rows of train, their items, none where vectors are known)."""
        size, step = self.config.batch_size, 0
        for epoch in range(self.config.epochs):
            order = rng.order(len(self.train), self.config.seed, "order", epoch)
            read = self._stream(order) if not self.frozen else iter([None] * self.steps_per_epoch)
            for first, batch in zip(range(0, len(order), size), read, strict=True):
                yield step, order[first : first + size], batch
                step += 1

    def _stream(self, order: Rows) -> Iterator[ProductBatch]:
        """Batches of the examples in this order; an example is one item, or two of a pair."""
        times = self.train.items.shape[1]
        items = (order[:, None] * times + np.arange(times)).ravel()
        for batch in self.tuned.stream(self.tuned.view(self.train, self.source)).evaluation(items):
            yield moved(self.tuned.encoder, batch)

    def _vectors(self, rows: Rows, read: ProductBatch | None) -> Float[Tensor, "b k D"]:
        if read is None:
            return self.vectors[torch.from_numpy(rows).to(self.tuned.device)]
        if self.config.cross:
            return self.tuned.encoder.encode_pairs(read)[:, None]
        return self.tuned.encoder.encode(read).unflatten(0, (len(rows), -1))

    def _read_once(self) -> None:
        """The vectors of all that is read, of train, valid and the answers."""
        self.vectors = self.tuned.vectors(self.train, self.source).clone()
        self.valid_vectors = self.tuned.vectors(self.valid, self.source).clone()
        if self.data.task == "answer":
            with torch.inference_mode():
                found = self.tuned.answer_vectors()
            self.answers = found.clone()

    def _step(self, step: int, rows: Rows, read: ProductBatch | None) -> float:
        torch.manual_seed(rng.torch_seed(self.config.seed, step, "dropout"))
        self.tuned.encoder.train(not self.frozen), self.tuned.head.train()
        share = self._share(step)
        rate = rate_at(share, 1 / self.steps, self.config.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = rate * peak
        device = self.tuned.device
        with torch.autocast(
            device.type, torch.bfloat16, enabled=uses_bf16(self.tuned.encoder.config.train.precision, device)
        ):
            loss = self._loss(step, rows, self._vectors(rows, read))
        if not isfinite(loss.item()):
            raise NonFiniteLoss(f"{self.tuned.name}, step {step}: the loss is {loss.item()}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, self.config.clip)
        self.optimizer.step()
        return loss.item()

    def _loss(self, step: int, rows: Rows, vectors: Float[Tensor, "b k D"]) -> Tensor:
        head, device = self.tuned.head, self.tuned.device
        if self.data.task == "answer":
            purpose = (self.config.seed, step)
            columns = answer.drawn_answers(self.true[rows], len(self.data.answers), self.config.answers, *purpose)
            answers = (
                self.answers[torch.from_numpy(columns).to(device)]
                if self.frozen
                else (self.tuned.answer_vectors(columns))
            )
            also = torch.from_numpy(self.also[rows][:, columns]).to(device)
            return answer.answer_loss(head(vectors[:, 0], answers).float(), columns, self.true[rows], also)
        labels = torch.from_numpy(self.train.labels[rows]).to(device)
        if self.data.task == "align":
            return binary_cross_entropy_with_logits(head(vectors).float(), labels.float())
        return cross_entropy(head(vectors[:, 0]).float(), labels)

    def _validate(self) -> float:
        scores = self._frozen_scores() if self.frozen else self.tuned.scores(self.valid, self.source)
        threshold = align.best_threshold(scores, self.valid.labels) if self.data.task == "align" else 0.0
        return judged(scores, self.valid, self.data, threshold).metrics[CHOSEN_BY[self.data.task]]

    @torch.inference_mode()
    def _frozen_scores(self) -> np.ndarray:
        head = self.tuned.head.eval()
        if self.data.task == "align":
            return head(self.valid_vectors).float().cpu().numpy()
        vectors = self.valid_vectors[:, 0]
        if self.data.task == "classify":
            return head(vectors).float().cpu().numpy()
        parts = [head(part, self.answers).float().cpu() for part in vectors.split(64)]
        return torch.cat(parts).numpy()


def _asked(data: TaskData) -> Examples:
    """Those of train that can be learnt from: a question whose answer is no candidate has no right answer."""
    if data.task != "answer":
        return data.train
    return data.train.take(np.flatnonzero(answer.true_columns(data.train, data.answers) >= 0))
