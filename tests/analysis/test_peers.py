"""PyKEEN's models: scores by hand, the study as a program on a store, stopped and gone on with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pykeen.models import TransE

import graphstore
from analysis import peers
from analysis.peers import Arguments, Embeddings, Tuning, factory_of, study_of
from k3m.candidates import Candidates

ITEMS, KINDS = 300, 3


def _catalogue() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The kind of an item decides its colour; some of the colours are kept back. A
    cold item has no training triple."""
    items = pd.DataFrame({"id": [f"item {n}" for n in range(ITEMS)] + ["cold"]})
    rows = []
    for n in range(ITEMS):
        split = {0: "valid", 1: "test"}.get(n % 5)
        rows += [
            (f"item {n}", "kind", f"kind {n % KINDS}", None),
            (f"item {n}", "colour", f"colour {n % KINDS}", split),
        ]
    rows.append(("cold", "colour", "colour 0", "cold"))
    return items, pd.DataFrame(rows, columns=["item", "property", "value", "split"])


def _stored(folder: Path, without: str = "") -> str:
    """A snapshot of the catalogue, less one split."""
    items, triples = _catalogue()
    with graphstore.from_tables(items, triples[triples["split"] != without]) as store:
        graphstore.write_snapshot(store, folder / "snapshot")
    return str(folder / "snapshot")


def test_scores_are_transe_s_of_the_property_s_candidates_in_their_order() -> None:
    training = _catalogue()[1].query("split.isnull()")
    factory, candidates = factory_of(training), Candidates.from_triples(training)
    model = TransE(embedding_dim=4, scoring_fct_norm=1, triples_factory=factory)
    found = Embeddings(model, factory, candidates).score("colour", ["item 1", "item 2"])
    entity, relation = (each[0]().detach() for each in (model.entity_representations, model.relation_representations))
    names = [f"value {value}" for value in candidates.of("colour")]
    for row, item in enumerate(["item item 1", "item item 2"]):
        moved = entity[factory.entity_to_id[item]] + relation[factory.relation_to_id["colour"]]
        expected = [-(moved - entity[factory.entity_to_id[name]]).abs().sum().item() for name in names]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def test_an_item_without_a_training_triple_cannot_be_scored() -> None:
    training = _catalogue()[1].query("split.isnull()")
    factory = factory_of(training)
    model = TransE(embedding_dim=4, triples_factory=factory)
    with pytest.raises(ValueError, match="item 'cold' has no training triple"):
        Embeddings(model, factory, Candidates.from_triples(training)).score("colour", ["cold"])


@pytest.mark.slow
def test_it_learns_what_the_training_triples_tell(tmp_path: Path) -> None:
    with graphstore.open(_stored(tmp_path)) as store:
        tuning = Tuning.of(store, Arguments(store="", out=tmp_path, epochs=40, check=40))
        model = tuning.model({"embedding_dim": 16, "loss": "softplus"})
        before = tuning.mrr(model, tuning.valid)["mrr"]
        assert list(tuning.trained(model, {"lr": 0.1, "negatives": 16, "batch_size": 128})) == [40]
        assert before < 0.75  # by chance .61
        assert tuning.mrr(model, tuning.valid)["mrr"] > 0.8


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": _stored(tmp_path), "out": tmp_path / "study", "epochs": 4, "check": 2}
    peers.main(Arguments(trials=1, **options))
    first = study_of(Arguments(**options)).trials
    peers.main(Arguments(trials=3, **options))
    trials = study_of(Arguments(**options)).trials
    metrics = json.loads((tmp_path / "study" / "metrics.json").read_text())
    assert trials[0].params == first[0].params
    assert len({str(trial.params) for trial in trials}) == metrics["trials"] == 3
    assert metrics["valid_mrr"] == max(trial.value for trial in trials if trial.value is not None)
    assert metrics["link_completion"]["test"]["n"] == 60


def test_a_store_without_triples_to_tune_on_is_refused(tmp_path: Path) -> None:
    location = _stored(tmp_path, without="valid")
    with pytest.raises(ValueError, match="has no split valid"):
        peers.main(Arguments(store=location, out=tmp_path / "study"))
