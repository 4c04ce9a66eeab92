"""A tiny run that was never trained, a catalogue with groups, and its three tasks."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import graphstore
from graphstore import Store
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.model import K3M
from k3m.run import Run
from k3m.streaming import learn_tokenizer
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import TaskData, answer_frames, from_table
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

QUICK = TaskConfig(epochs=1, batch_size=8, answers=4, dropout=0.0)


@pytest.fixture
def store() -> Store:
    tables = tiny_catalogue()
    groups = [f"g{number // 2}" if number % 5 else None for number in range(len(tables.items))]
    items = tables.items.assign(group=pd.Series(groups, dtype=object))
    return graphstore.from_tables(items, tables.triples, images=tables.images)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    return untrained(store, tmp_path / "run")


def untrained(store: Store, directory: Path, *settings: str) -> Run:
    config = Config.from_preset("small", [*TINY, "train.device=cpu", *settings])
    tokenizer = learn_tokenizer(store, config)
    torch.manual_seed(0)
    model = K3M(config, tokenizer.vocabulary).eval()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "weights.safetensors").write_bytes(b"none")
    candidates, applicability = Candidates.from_store(store), Applicability.from_store(store)
    return Run(directory, config, tokenizer, model, candidates, applicability, {})


def split(n: int) -> list[str]:
    return (["train"] * 4 + ["valid", "test"]) * (n // 6) + ["train"] * (n % 6)


@pytest.fixture
def classify(store: Store) -> TaskData:
    items = store.items(("category",)).to_pandas().dropna()
    table = pd.DataFrame({"item": items["id"], "label": items["category"], "split": split(len(items))})
    return from_table("classify", table.reset_index(drop=True), store)


@pytest.fixture
def align(store: Store) -> TaskData:
    rows = [(f"item-{n}", f"item-{n + 1}", str(n % 2)) for n in range(36)]
    table = pd.DataFrame(rows, columns=["item", "other", "label"]).assign(split=[*split(24), *(["train"] * 12)])
    table.loc[[4, 5, 10, 11], "label"] = ["0", "1", "1", "0"]
    return from_table("align", table, store)


@pytest.fixture
def answer(store: Store) -> TaskData:
    return questions(store)


def questions(store: Store) -> TaskData:
    """About training triples: a trained model would have seen them, which one from scratch has not."""
    triples = store.triples().to_pandas()
    triples = triples[triples["property"].isin(["colour", "size"])].head(48)[["item", "property", "value"]]
    table = triples.assign(split=split(len(triples))).reset_index(drop=True)
    return from_table("answer", table, store, **answer_frames(store, table))


@pytest.fixture
def tasks(classify: TaskData, align: TaskData, answer: TaskData) -> dict[str, TaskData]:
    return {"classify": classify, "align": align, "answer": answer}
