"""Reasons: leads and falls by hand, the nearest that carry the value, queries that run; and, of a trained run, that a
proposal loses more without the evidence that is named than without any other."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp  # type: ignore[import-untyped]

import graphstore
import k3m
from analysis.reasons import COLUMNS, NAMED, NEAREST, RIVALS, nearest, reasons
from graphstore import Store
from k3m import train
from k3m.config import Config
from k3m.evidence import MODALITIES
from k3m.model import K3M
from k3m.predictor import ModelPredictor
from k3m.streaming import Stream, learn_tokenizer
from loaders import demo, ingest
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY
from tests.stores import DATABASES, empty_database, ingested

TRIPLE = ["item", "property", "value"]


def _predictor(store: Store, *settings: str, without: tuple[str, ...] = ()) -> ModelPredictor:
    """Of an untrained model, all parts of which speak."""
    torch.manual_seed(0)
    config = Config.from_preset("small", [*TINY, 'visible.fields=["category", "price"]', *settings])
    stream = Stream(store, config, learn_tokenizer(store, config))
    model = K3M(config, stream.tokenizer.vocabulary)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return ModelPredictor.of(model.eval(), stream, store.items()["id"].to_pylist(), without)


@pytest.fixture(scope="module")
def store() -> Store:
    tables = tiny_catalogue()
    return graphstore.from_tables(tables.items, tables.triples, images=tables.images)


@pytest.fixture(scope="module")
def predictor(store: Store) -> ModelPredictor:
    return _predictor(store)


@pytest.fixture(scope="module")
def asked(predictor: ModelPredictor) -> pd.DataFrame:
    """The second value of two properties for every item."""
    items = list(predictor.row)
    values = {name: predictor.candidates.of(name)[1] for name in ("fabric", "size")}
    return pd.DataFrame([(item, name, value) for item in items for name, value in values.items()], columns=TRIPLE)


@pytest.fixture(scope="module")
def found(predictor: ModelPredictor, asked: pd.DataFrame, store: Store) -> pd.DataFrame:
    return reasons(predictor, asked, store.triples().to_pandas())


def _lead(predictor: ModelPredictor, item: str, name: str, value: str, rivals: np.ndarray) -> float:
    """The score of the value less the mean of its rivals'."""
    scores = predictor.score(name, [item])[0]
    values = list(predictor.candidates.of(name))
    return float(scores[values.index(value)] - scores[rivals].mean())


def test_leads_and_falls_by_hand(predictor: ModelPredictor, found: pd.DataFrame, store: Store) -> None:
    """Rivals stay those of the whole."""
    row = found[(found["property"] == "size") & found["graph"].notna()].iloc[0]
    item, value = str(row["item"]), str(row["value"])
    scores = predictor.score("size", [item])[0]
    values = predictor.candidates.of("size")
    order = np.argsort(-scores)
    rivals = order[values[order] != value][:RIVALS]
    lead = _lead(predictor, item, "size", value, rivals)
    assert row["lead"] == pytest.approx(lead, abs=1e-4)
    falls = {name: lead - _lead(_predictor(store, without=(name,)), item, "size", value, rivals) for name in MODALITIES}
    lowering = sum(max(fall, 0) for fall in falls.values())
    for name, fall in falls.items():
        assert row[f"without_{name}"] == pytest.approx(fall / abs(lead), abs=1e-3)
        assert row[name] == pytest.approx(max(fall, 0) / lowering, abs=1e-3)


def test_shares_add_up_and_triples_are_the_items_own(found: pd.DataFrame, store: Store) -> None:
    assert list(found) == list(COLUMNS)
    shares = found[list(MODALITIES)].dropna()
    assert len(shares) > 0
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(len(shares)), abs=1e-5)
    facts = set(store.triples().to_pandas()[TRIPLE].itertuples(index=False, name=None))
    fields = store.items(("category", "price")).to_pandas().set_index("id").map(str)
    named = 0
    for item, triples in zip(found["item"], found["triples"], strict=True):
        falls = [triple["fall"] for triple in triples]
        assert falls == sorted(falls, reverse=True)
        assert len(falls) <= NAMED
        for triple in triples:
            own = (item, triple["property"], triple["value"])
            assert own in facts if triple["is_fact"] else fields.loc[item, triple["property"]] == triple["value"]
            named += triple["is_fact"]
    assert named > 0


def test_without_gates_there_are_no_gate_shares(store: Store, asked: pd.DataFrame, found: pd.DataFrame) -> None:
    gates = ["title_from_image", "image_from_title"]
    shares = found[gates].dropna().to_numpy()  # a hard gate may take nothing of an item
    assert shares.min() >= 0
    assert 0 < shares.mean() < 1
    mean = reasons(_predictor(store, "model.fusion=mean"), asked[:4], store.triples().to_pandas())
    assert mean[gates].isna().all(axis=None)


def test_the_nearest_carry_the_value_and_are_other_items(
    found: pd.DataFrame, predictor: ModelPredictor, store: Store
) -> None:
    facts = set(store.triples().to_pandas()[TRIPLE].itertuples(index=False, name=None))
    unit = torch.nn.functional.normalize(predictor.items.vectors).numpy()
    for row in found.to_dict("records"):
        own, *value = (row[name] for name in TRIPLE)
        carriers = [item for item in predictor.row if item != own and (item, *value) in facts]
        cosines = {item: float(unit[predictor.row[own]] @ unit[predictor.row[item]]) for item in carriers}
        best = sorted(cosines.values(), reverse=True)[:NEAREST]
        assert [near["cosine"] for near in row["nearest"]] == pytest.approx(best, abs=1e-5)
        assert all(cosines[near["item"]] == pytest.approx(near["cosine"], abs=1e-5) for near in row["nearest"])


def test_carriers_without_a_vector_get_one(store: Store, predictor: ModelPredictor, asked: pd.DataFrame) -> None:
    few = [*predictor.row][:3]
    small = ModelPredictor.of(predictor.model, predictor.stream, few)
    part = asked[asked["item"].isin(few)].reset_index(drop=True)
    training = store.triples().to_pandas()
    assert [[near["item"] for near in close] for close in nearest(small, part, training)] == [
        [near["item"] for near in close] for close in nearest(predictor, part, training)
    ]


def test_proposals_keep_their_order_and_need_none_beside_them(
    predictor: ModelPredictor, asked: pd.DataFrame, found: pd.DataFrame, store: Store
) -> None:
    some = asked.sample(9, random_state=1)
    own = reasons(predictor, some, store.triples().to_pandas())
    assert own[TRIPLE].to_numpy().tolist() == some.to_numpy().tolist()
    expected = found.loc[some.index].reset_index(drop=True)
    np.testing.assert_allclose(own["lead"], expected["lead"], atol=1e-4)
    assert own["cypher"].tolist() == expected["cypher"].tolist()


def test_nothing_proposed_has_no_reasons(predictor: ModelPredictor, store: Store) -> None:
    assert list(reasons(predictor, pd.DataFrame(columns=TRIPLE), store.triples().to_pandas())) == list(COLUMNS)


def test_a_value_that_training_has_not_is_refused(predictor: ModelPredictor, store: Store) -> None:
    asked = pd.DataFrame([("item-7", "size", "nobody's")], columns=TRIPLE)
    with pytest.raises(ValueError, match="expected values that training has for 'size', got \"nobody's\""):
        reasons(predictor, asked, store.triples().to_pandas())


@pytest.mark.parametrize("kind", DATABASES)
def test_a_query_shows_the_evidence_as_it_stands(
    kind: str, request: pytest.FixtureRequest, found: pd.DataFrame
) -> None:
    location: Any = empty_database(kind, request)
    with ingested(location, tiny_catalogue()) as database:
        for row in found.iloc[::9].to_dict("records"):
            shown = database.query(row["cypher"])
            by_kind = {str(name): part for name, part in shown.groupby("evidence")}
            assert by_kind.pop("the item")["item"].tolist() == [row["item"]]
            for evidence, is_fact in (("a fact of it", True), ("a field of it", False)):
                expected = {(t["property"], t["value"]) for t in row["triples"] if t["is_fact"] == is_fact}
                rows = by_kind.pop(evidence, pd.DataFrame(columns=["property", "value"]))
                assert set(rows[["property", "value"]].itertuples(index=False, name=None)) == expected
            like = by_kind.pop("an item like it", pd.DataFrame(columns=TRIPLE))
            assert sorted(like["item"]) == sorted(near["item"] for near in row["nearest"])
            assert set(like["property"]) <= {row["property"]}
            assert set(like["value"]) <= {row["value"]}
            assert by_kind == {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a demo catalogue's snapshot and a run on it, both small."""
    folder = tmp_path_factory.mktemp("demo")
    demo.main([str(folder / "catalogue"), "--items", "100", "--seed", "3"])
    ingest.main(["demo", str(folder / "catalogue"), "--store", str(folder / "store.lbdb")])
    with graphstore.open(folder / "store.lbdb") as store:
        graphstore.write_snapshot(store, folder / "store")
    settings = ("train.steps=25", "train.eval_triples=0", "loss.link=softmax", "visible.fields=category")
    train.main(["--store", str(folder / "store"), "--run", str(folder / "run"), "--set", *TINY, *settings])
    return folder


@dataclass(frozen=True)
class _Told:
    """What the run says of a kept-back value an item, which it has not seen."""

    training: pd.DataFrame
    found: pd.DataFrame
    """Reasons of n proposals."""
    scores: np.ndarray
    """Of the n."""


@pytest.fixture(scope="module")
def told(trained: Path) -> _Told:
    with graphstore.open(trained / "store") as store:
        training = store.triples().to_pandas()[[*TRIPLE, "split"]]
        asked = store.triples(("test",)).to_pandas()[TRIPLE].drop_duplicates("item")
        predictor = k3m.load(trained / "run").predictor(store, asked["item"].tolist())
        return _Told(training, reasons(predictor, asked, training), _scores(predictor, asked))


def _scores_without(
    trained: Path, name: str, training: pd.DataFrame, gone: pd.DataFrame, asked: pd.DataFrame
) -> np.ndarray:
    """Of the asked triples, by the run, on a catalogue that lacks the triples in `gone`."""
    held = training.merge(gone, on=TRIPLE, how="left", indicator=True)
    left = held.loc[held["_merge"] == "left_only", [*TRIPLE, "split"]]
    assert len(left) == len(training) - len(gone)
    with graphstore.open(trained / "store") as whole:
        graphstore.write_snapshot(whole, trained / name, triples=left)
    with graphstore.open(trained / name) as store:
        return _scores(k3m.load(trained / "run").predictor(store, asked["item"].tolist()), asked)


def _scores(predictor: ModelPredictor, asked: pd.DataFrame) -> np.ndarray:
    """Of each triple the score, less what moves the scores of all of the property's values alike: log softmax."""
    found = pd.Series(0.0, asked.index)
    for name, of_property in asked.groupby("property"):
        scores = predictor.score(str(name), of_property["item"].tolist())
        own = predictor.candidates.columns(str(name), of_property["value"])
        assert (own >= 0).all()
        found[of_property.index] = scores[np.arange(len(own)), own] - logsumexp(scores, axis=1)
    return found.to_numpy()


@pytest.mark.slow
def test_removing_the_named_evidence_lowers_the_score_more_than_removing_any_other(trained: Path, told: _Told) -> None:
    """From the store itself."""
    draw, training, found = np.random.default_rng(0), told.training, told.found
    facts = [[t for t in triples if t["is_fact"]] for triples in found["triples"]]
    chosen = [
        place for place, own in enumerate(facts) if own and len(training[training["item"] == found["item"][place]]) > 1
    ]
    assert len(chosen) > 20
    asked, whole = found.loc[chosen, TRIPLE].reset_index(drop=True), told.scores[chosen]
    named, others = [], []
    for item, own in zip(asked["item"], (facts[place][0] for place in chosen), strict=True):
        named.append((item, own["property"], own["value"]))
        rest = training[(training["item"] == item) & (training["property"] != own["property"])]
        others.append(tuple(rest.iloc[draw.integers(len(rest))][TRIPLE]))
    fall = {
        name: whole - _scores_without(trained, name, training, pd.DataFrame(gone, columns=TRIPLE), asked)
        for name, gone in (("named", named), ("random", others))
    }
    assert fall["named"].mean() > 0
    assert fall["named"].mean() > 2 * fall["random"].mean()
    assert (fall["named"] > fall["random"]).mean() > 0.6


@pytest.mark.slow
def test_the_modality_with_the_largest_share_is_the_one_whose_absence_costs_most(trained: Path, told: _Told) -> None:
    asked, run = told.found[TRIPLE], k3m.load(trained / "run")
    items = asked["item"].tolist()
    with graphstore.open(trained / "store") as store:
        fall = np.stack(
            [told.scores - _scores(run.predictor(store, items, (name,)), asked) for name in MODALITIES], axis=1
        )
    shares = told.found[list(MODALITIES)].dropna()
    largest = shares.to_numpy().argmax(axis=1)
    own = fall[shares.index.to_numpy()]
    rows = np.arange(len(own))
    others = (own.sum(axis=1) - own[rows, largest]) / 2
    assert own[rows, largest].mean() > others.mean()


def test_queries_carry_no_statement_that_writes(found: pd.DataFrame) -> None:
    words = re.compile(r"\b(CREATE|MERGE|SET|DELETE|REMOVE|CALL|LOAD)\b")
    assert not any(words.search(re.sub(r"'(?:\\.|[^'\\])*'", "", query)) for query in found["cypher"])
