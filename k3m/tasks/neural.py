"""A tuned encoder with its head: scores of examples, saved as a folder.

Legend: n examples, k items an example, C classes, A answers, D width.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from graphstore import Store
from k3m.batch import ProductBatch
from k3m.candidates import Candidates
from k3m.checkpoint import WEIGHTS, save_weights
from k3m.optimisation import device_of
from k3m.ranks import check_finite
from k3m.streaming import Stream
from k3m.tasks.align import PairHead
from k3m.tasks.answer import AnswerHead
from k3m.tasks.classify import ClassHead
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, Task, TaskData
from k3m.tasks.encoders import ItemEncoder, moved
from k3m.tasks.folder import TaskInfo, write_info
from k3m.tasks.view import ExampleStore, QuestionTokenizer, example_view
from k3m.text_encoders import save_architecture

NO_CANDIDATES = Candidates(
    pd.DataFrame({"property": pd.Series(dtype=object), "value": pd.Series(dtype=object), "count": []})
)
"""Nothing is hidden or replaced in a batch of examples."""
_CELLS = 2**22
"""Scores of questions at a time."""


class NeuralTuned:
    """An encoder and a task's head. See `scoring.Tuned`."""

    def __init__(self, encoder: ItemEncoder, tokenizer: QuestionTokenizer, info: TaskInfo) -> None:
        self.encoder, self.tokenizer, self.info = encoder, tokenizer, info
        self.head = head_of(info, encoder.width)
        self.template: str | None = None
        """answer: a question's wording; None: drawn among those of training."""
        self.history: list[dict[str, float]] = []
        """Of the training: step, minutes, loss, valid."""
        encoder.to(self.device), self.head.to(self.device)

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def task(self) -> Task:
        return self.info.task

    @property
    def visible(self) -> tuple[str, ...]:
        return self.encoder.config.visible.fields

    @property
    def config(self) -> TaskConfig:
        return self.info.config

    @property
    def threshold(self) -> float:
        return self.info.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.info = dataclasses.replace(self.info, threshold=value)

    @property
    def device(self) -> torch.device:
        return device_of(self.encoder.config.train.device)

    def scores(self, examples: Examples, source: Store) -> Float[np.ndarray, "n ..."]:
        """See `scoring.Tuned`.

        Raises:
            NonFiniteScores: for scores that are none.
        """
        found = self._scores(examples, source)
        check_finite(found.reshape(len(found), -1), f"scores of {self.name}")
        return found

    @torch.inference_mode()
    def _scores(self, examples: Examples, source: Store) -> Float[np.ndarray, "n ..."]:
        self.encoder.eval(), self.head.eval()
        if self.config.cross:
            parts = [self.head(self.encoder.encode_pairs(batch)[:, None]) for batch in self.batches(examples, source)]
            return torch.cat(parts).float().cpu().numpy()
        vectors = self.vectors(examples, source)
        if self.task != "answer":
            return self.head(vectors if self.task == "align" else vectors[:, 0]).float().cpu().numpy()
        answers = self.answer_vectors()
        size = max(1, _CELLS // max(1, answers.numel()))
        parts = [self.head(part, answers).float().cpu() for part in vectors[:, 0].split(size)]
        return torch.cat(parts).numpy() if parts else np.empty((0, len(answers)), dtype=np.float32)

    @torch.inference_mode()
    def vectors(self, examples: Examples, source: Store) -> Float[Tensor, "n k D"]:
        """Of the examples' items, on the device; each distinct item of a task without questions is read once."""
        self.encoder.eval()
        if self.task == "answer":
            parts = [self.encoder.encode(batch).float() for batch in self.batches(examples, source)]
            return self._joined(parts)[:, None]
        ids, place = np.unique(examples.items.ravel(), return_inverse=True)
        stream = self.stream(self._view(source.item_ords(ids.tolist()), source))
        parts = [self.encoder.encode(moved(self.encoder, b)).float() for b in stream.evaluation(np.arange(len(ids)))]
        return self._joined(parts)[torch.from_numpy(place).to(self.device)].unflatten(0, (len(examples), -1))

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts) if parts else torch.empty(0, self.encoder.width, device=self.device)

    def batches(self, examples: Examples, source: Store) -> Iterator[ProductBatch]:
        """Of all items of the examples one after the other, those of one example together; on the device."""
        view = self.view(examples, source)
        for batch in self.stream(view).evaluation(np.arange(view.num_items)):
            yield moved(self.encoder, batch)

    def view(self, examples: Examples, source: Store) -> ExampleStore:
        """The examples as items: those of one example follow each other."""
        return example_view(examples, source, self.info.hidden_properties, self.template or "")

    def _view(self, rows: Int64[np.ndarray, " m"], source: Store) -> ExampleStore:
        """Items without questions."""
        names = source.property_names()
        return ExampleStore(source, rows, hidden=[names.index(p) for p in self.info.hidden_properties if p in names])

    def stream(self, view: ExampleStore) -> Stream:
        config, size = self.encoder.config, self.config.batch_size * (2 if self.task == "align" else 1)
        data = dataclasses.replace(config.data, batch_size=size, fan_out=config.data.fan_out[:1])
        return Stream(view, dataclasses.replace(config, data=data), self.tokenizer, NO_CANDIDATES)

    def answer_vectors(self, columns: Int64[np.ndarray, " a"] | None = None) -> Float[Tensor, "a D"]:
        """Of all answers, or those at these places."""
        answers = self.info.answers if columns is None else [self.info.answers[column] for column in columns]
        tokens = self.tokenizer.strings(list(answers), self.encoder.config.text.string_tokens)
        parts = torch.from_numpy(tokens).to(self.device).split(512)
        return torch.cat([self.encoder.encode_answers(part) for part in parts])

    @property
    def whole(self) -> nn.ModuleDict:
        """All that has weights."""
        return nn.ModuleDict({"encoder": self.encoder, "head": self.head})

    @property
    def kept(self) -> nn.Module:
        """What of it is saved."""
        return self.whole

    def save(self, directory: Path) -> None:
        """Weights, settings, tokenizer, and what the task knows: all that `models.load` needs."""
        write_info(directory, self.info)
        self.tokenizer.save(directory / "tokenizer.json")
        (directory / "config.toml").write_text(self.encoder.config.to_toml(), encoding="utf-8")
        if self.encoder.architecture is not None:
            save_architecture(directory, self.encoder.architecture)
        save_weights(self.kept, directory / WEIGHTS)


def head_of(info: TaskInfo, width: int) -> nn.Module:
    if info.task == "classify":
        return ClassHead(width, len(info.classes), info.config)
    return PairHead(width, info.config) if info.task == "align" else AnswerHead(width, info.config)


def info_of(name: str, data: TaskData, config: TaskConfig, origin: Mapping[str, object] | None = None) -> TaskInfo:
    """What a tuned model keeps of its task.

    Args:
        origin: where its weights come from, for the reader.
    """
    if config.cross and data.task != "align":
        raise ValueError(f"cross is for alignment, whose examples have two items (got task {data.task})")
    return TaskInfo(
        name=name,
        task=data.task,
        config=config,
        classes=data.classes,
        answers=tuple(data.answers.tolist()),
        hidden_properties=data.hidden_properties,
        origin=dict(origin or {}),
    )
