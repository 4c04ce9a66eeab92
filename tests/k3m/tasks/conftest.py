"""A tiny run that was never trained, a catalogue with groups, and its three tasks."""

from pathlib import Path

import pandas as pd
import pytest

import graphstore
from graphstore import Store
from k3m.checkpoint import WEIGHTS, save_weights
from k3m.config import Config
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import TaskData, answer_frames, from_table
from k3m.train import start
from tests.catalogues import Tables, tiny_catalogue
from tests.k3m.conftest import TINY

QUICK = TaskConfig(epochs=1, batch_size=8, answers=4, dropout=0.0)
SMALL = (*TINY, "train.device=cpu")


def catalogue() -> Tables:
    tables = tiny_catalogue()
    groups = [f"g{number // 2}" if number % 5 else None for number in range(len(tables.items))]
    items = tables.items.assign(group=pd.Series(groups, dtype=object))
    return Tables(items, tables.triples, tables.images)


def store_of(tables: Tables) -> Store:
    return graphstore.from_tables(tables.items, tables.triples, images=tables.images)


@pytest.fixture(scope="session")
def store() -> Store:
    return store_of(catalogue())


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(store, tmp_path_factory.mktemp("runs") / "run")


def untrained(store: Store, directory: Path, *settings: str) -> Path:
    trainer = start(store, directory, Config.from_preset("small", [*SMALL, *settings]))
    save_weights(trainer.model, directory / WEIGHTS)
    return directory


def split(n: int) -> list[str]:
    return (["train"] * 4 + ["valid", "test"]) * (n // 6) + ["train"] * (n % 6)


@pytest.fixture(scope="session")
def tasks(store: Store) -> dict[str, TaskData]:
    return tasks_of(store)


def tasks_of(store: Store) -> dict[str, TaskData]:
    return {"classify": classes(store), "align": pairs(store), "answer": questions(store)}


def classes(store: Store) -> TaskData:
    items = store.items(("category",)).to_pandas().dropna()
    table = pd.DataFrame({"item": items["id"], "label": items["category"]}).reset_index(drop=True)
    return from_table("classify", table.assign(split=split(len(table))), store)


def pairs(store: Store) -> TaskData:
    rows = [(f"item-{n}", f"item-{n + 1}", str(n // 2 % 2)) for n in range(36)]
    table = pd.DataFrame(rows, columns=["item", "other", "label"])
    return from_table("align", table.assign(split=split(36)), store)


def questions(store: Store) -> TaskData:
    """About training triples: a trained model would have seen them, which one from scratch has not."""
    triples = store.triples().to_pandas()
    triples = triples[triples["property"].isin(["colour", "size"])].head(36)[["item", "property", "value"]]
    table = triples.assign(split=split(len(triples))).reset_index(drop=True)
    candidates, known = answer_frames(store, table)
    return from_table("answer", table, store, candidates=candidates, known=known)
