"""What a training run reads of a store: as much as it needs, and in any blocks the same."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import graphstore
from graphstore import Store
from k3m import rng, train
from k3m.config import Config
from k3m.validation import Validation, in_part
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY
from tests.stores import ADOPTED, DATABASES, KINDS, STREAMED, store_of


@pytest.fixture(params=[*KINDS, *ADOPTED, *STREAMED])
def any_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, tiny_catalogue(), request) as opened:
        yield opened


def test_validation_ranks_the_first_of_a_drawn_order_and_knows_their_items(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphstore.store.BLOCK", 7)
    config = Config.from_preset("small", [*TINY, "train.eval_triples=5", "train.seed=3"])
    found = Validation.of(any_store, config.train)
    valid, every = any_store.triples(("valid",)), any_store.triples((None, *any_store.counts().splits)).to_pandas()
    to_select = valid.filter(pa.array(in_part(any_store, valid, "select")))
    assert 5 < len(to_select) < len(valid)
    expected = to_select.take(pa.array(rng.order(len(to_select), 3, "valid")[:5]))
    pd.testing.assert_frame_equal(found.chosen, expected.to_pandas())
    of_items = every[every["item"].isin(found.chosen["item"])]
    assert len(of_items) < len(every)
    pd.testing.assert_frame_equal(found.known, of_items.reset_index(drop=True))


def test_the_parts_of_valid_are_halves_of_its_groups() -> None:
    """Each group in one part, whichever of its items has the triple; by name, so that all runs agree."""
    tables = tiny_catalogue(400)
    groups = [f"style {number // 2}" if number < 200 else None for number in range(400)]
    tables.items["group"] = pd.Series(groups, dtype=object)
    with graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images) as store:
        valid = store.triples(("valid",))
        selects, calibrates = (in_part(store, valid, part) for part in ("select", "calibrate"))
    assert (selects != calibrates).all()
    table = pd.DataFrame({"item": valid["item"].to_pylist(), "selects": selects})
    table["group"] = table["item"].map(dict(zip(tables.items["id"], groups, strict=True))).fillna(table["item"])
    of_group = table.groupby("group")["selects"].agg(["mean", "first"])
    assert set(of_group["mean"]) == {0.0, 1.0}
    assert 0.4 < of_group["first"].mean() < 0.6


def test_without_validation_nothing_is_read_for_it(any_store: Store, tmp_path: Path) -> None:
    config = Config.from_preset("small", [*TINY, "train.eval_triples=0"])
    trainer = train.start(any_store, tmp_path / "run", config)
    found = Validation.of(any_store, config.train)
    assert [len(found.chosen), len(found.known)] == [0, 0]
    assert trainer.valid_mrr() is None


def test_the_tokenizer_and_the_lists_are_the_same_from_every_store_and_in_any_blocks(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from the whole tables of a store in memory."""
    tables, config = tiny_catalogue(), Config.from_preset("small", ["visible.fields=category"])
    whole = graphstore.from_tables(tables.items, tables.triples, tables.properties, tables.images)
    train.start(whole, tmp_path / "whole", config)
    monkeypatch.setattr("graphstore.store.BLOCK", 7)
    train.start(any_store, tmp_path / "run", config)
    for name in ("tokenizer.json", "candidates.parquet", "applicability.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_after_an_ingest_the_kept_weights_are_the_best_on_the_new_data(
    store: Store, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An MRR of before compares with none: the next weights are kept, however low theirs is, and then better ones."""
    trainer = train.start(store, tmp_path / "run", config)
    mrrs, kept = iter([0.9, 0.8, 0.3, 0.2, 0.4]), list[tuple[bool, float, int]]()
    monkeypatch.setattr(trainer, "valid_mrr", lambda: next(mrrs))
    weights = tmp_path / "run" / "weights.safetensors"
    for step in range(5):
        if step == 2:
            trainer.catch_up()
        weights.unlink(missing_ok=True)
        trainer._validate()
        kept.append((weights.exists(), trainer.state.best_mrr, trainer.state.worse))
    assert kept == [(True, 0.9, 0), (False, 0.9, 1), (True, 0.3, 0), (False, 0.3, 1), (True, 0.4, 0)]
    assert [line["valid_mrr"] for line in trainer.metrics.validated()] == [0.3, 0.2, 0.4]


@pytest.mark.parametrize("kind", DATABASES)
def test_no_table_of_all_items_or_triples_is_read(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the start of a run nor in its first validation."""
    with store_of(kind, tiny_catalogue(), request) as store:
        for name in ("triples", "items", "_triples"):
            monkeypatch.setattr(store, name, lambda *_: pytest.fail("read whole"))
        trainer = train.start(store, tmp_path / "run", config)
        assert trainer.valid_mrr() is not None
