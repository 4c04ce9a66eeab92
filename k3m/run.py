"""A trained run, loaded from its folder: completions and vectors for a store's items, or for a table of items no
store has seen."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from graphstore import Store
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.checkpoint import WEIGHTS, fingerprint, load_weights
from k3m.completion import best_values
from k3m.config import Config
from k3m.model import K3M
from k3m.new_items import store_of
from k3m.predictor import ModelPredictor, embed, embedded
from k3m.run_info import read_info
from k3m.streaming import Stream
from k3m.text import TextTokenizer
from k3m.text_encoders import load_architecture

_PART = 4096
"""Vectors that `Run.vectors` gives at a time, at least."""


class RunNotFound(ValueError):
    """A folder that holds no finished run."""


class Run:
    """A trained run.

    Attributes:
        directory: its folder.
        config: as it was trained.
        info: `run.json`: store, data version, time, versions.
        candidates: each property's values in the training triples it saw.
        applicability: which properties apply to an item, learnt from the same triples.
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        tokenizer: TextTokenizer,
        model: K3M,
        candidates: Candidates,
        applicability: Applicability,
        info: dict[str, Any],
    ) -> None:
        self.directory, self.config, self.info = directory, config, info
        self.tokenizer, self.model, self.candidates, self.applicability = tokenizer, model, candidates, applicability

    @property
    def name(self) -> str:
        """That of its folder, by which a store knows what it wrote there."""
        return self.directory.resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights: of two runs by one name, which one it was."""
        return fingerprint(self.directory)

    @property
    def visible(self) -> tuple[str, ...]:
        """Item fields that the model saw."""
        return self.config.visible.shown

    def stream(self, store: Store, candidates: Candidates | None = None) -> Stream:
        return Stream(store, self.config, self.tokenizer, candidates)

    def predictor(
        self, store: Store, items: Sequence[str] | None = None, without: Collection[str] = (), progress: bool = False
    ) -> ModelPredictor:
        """Scores of the store's candidate values for these items (all by default), whose vectors are computed once,
        here.

        Args:
            without: modalities that the model is not shown: any of title, image, graph.
        """
        unknown = set(without) - {"title", "image", "graph"}
        if unknown:
            raise ValueError(f"without takes title, image and graph (got {', '.join(sorted(unknown))})")
        chosen = list(store.items()["id"].to_pylist() if items is None else items)
        return ModelPredictor.of(self.model, self.stream(store), chosen, without, progress)

    def complete(self, source: Store | pd.DataFrame, items: Sequence[str] | None = None, top: int = 10) -> pd.DataFrame:
        """The `top` most plausible values of what the items lack: item, property, value, rank (1 is best), score
        (higher is better), applies (the probability that the property applies to the item).

        What may be asked of an item: properties without a value that apply to it with a probability of .05 at least
        (`k3m.applicability`).

        Args:
            source: a store, or a table of new items with columns id, title, image (bytes or a path), category, and a
            column a property. items: ids; all by default.
        """
        if isinstance(source, pd.DataFrame):
            return self._complete(
                store_of(source, self.config.visible.fields), self.applicability, self.candidates, items, top
            )
        trained_on = self.info["store"], self.info["data_version"]
        same = trained_on == (source.location, source.data_version)
        applicability = self.applicability if same else Applicability.from_store(source)
        return self._complete(source, applicability, Candidates.from_store(source), items, top)

    def _complete(
        self, store: Store, applicability: Applicability, candidates: Candidates, items: Sequence[str] | None, top: int
    ) -> pd.DataFrame:
        known = store.triples((None, *store.counts().splits)).to_pandas()
        described = store.items(("category",)).to_pandas()
        if items is not None:
            described = described.set_index("id", drop=False).loc[list(items)]
        predictor = ModelPredictor.of(self.model, self.stream(store, candidates), list(described["id"]))
        return best_values(predictor, applicability.missing(described, known), known, candidates, top)

    def embed(self, store: Store, items: Sequence[str] | None = None) -> pd.DataFrame:
        """c* of the items (all by default): one row an item, indexed by id, one column a dimension, float32."""
        chosen = list(store.items()["id"].to_pylist() if items is None else items)
        return _frame(chosen, embed(self.model, self.stream(store), store.item_ords(chosen)).vectors)

    def vectors(self, store: Store, ords: NDArray[np.int64], progress: bool = False) -> Iterator[pd.DataFrame]:
        """`embed` of the items with these ordinals in parts of some thousand, for more vectors than memory should
        hold."""
        held: list[torch.Tensor] = []
        done = 0
        for batch in embedded(self.model, self.stream(store), ords, progress=progress):
            held.append(batch.vectors)
            number = sum(map(len, held))
            if number >= _PART or done + number == len(ords):
                yield _frame(store.item_ids(ords[done : done + number]), torch.cat(held))
                done, held = done + number, []


def _frame(items: Sequence[str] | NDArray[np.object_], vectors: torch.Tensor) -> pd.DataFrame:
    return pd.DataFrame(vectors.numpy(), index=pd.Index(items, name="item"))


def load_run(directory: str | Path) -> Run:
    """The run in this folder.

    Raises:
        RunNotFound: naming what the folder lacks.
        CheckpointError: weights that do not fit the config.
    """
    directory = Path(directory)
    for name in (
        "config.toml",
        "tokenizer.json",
        "candidates.parquet",
        "applicability.parquet",
        "run.json",
        WEIGHTS,
    ):
        if not (directory / name).is_file():
            raise RunNotFound(f"{directory} holds no finished run: {name} is missing (python -m k3m.train makes one)")
    config, tokenizer = Config.load(directory / "config.toml"), TextTokenizer.load(directory / "tokenizer.json")
    model = K3M(config, tokenizer.vocabulary, load_architecture(directory)).eval()
    load_weights(model, directory / WEIGHTS)
    candidates = Candidates.load(directory / "candidates.parquet")
    applicability = Applicability.load(directory / "applicability.parquet")
    info = read_info(directory)
    return Run(directory, config, tokenizer, model, candidates, applicability, info)
