"""What every floor and peer must do, whoever it is: one suite for all that stand beside K3M in a table."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graphstore
from analysis import cnn
from analysis.embeddings import MODELS, CatalogueGraph, EmbeddingPredictor, Name, Settings
from analysis.external import External
from analysis.floors import FLOORS, Tabular
from analysis.nearest import Nearest
from analysis.pool import Pool
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import CannotScore, Predictor
from tests.analysis.shop import shop

Maker = Callable[[Store, Path], Predictor]
BARE = "bare"
"""An item without a title, a photograph, a category or a triple."""


def _network(store: Store) -> cnn.Cnn:
    settings = cnn.Settings(channels=(4, 8), size=(12, 16), epochs=2, batch_size=32)
    return cnn.Cnn(store, Candidates.from_store(store), settings)


def _pool(store: Store, folder: Path) -> Predictor:
    candidates = Candidates.from_store(store)
    return Pool(store, candidates, Tabular(store, candidates), _network(store))


def _embedding(model: Name) -> Maker:
    def make(store: Store, folder: Path) -> Predictor:
        graph = CatalogueGraph(store.triples().to_pandas())
        embedding = graph.embedding(Settings(model=model, training="all", inverse=True, targets="seen", dimension=8))
        embedding.train_epoch()
        return EmbeddingPredictor(embedding, graph, Candidates.from_store(store))

    return make


def _external(store: Store, folder: Path) -> Predictor:
    """Two of the colours of every other item."""
    items = store.items()["id"].to_pylist()[::2]
    rows = [(item, "colour", value, place + len(item)) for item in items for place, value in enumerate(("red", "blue"))]
    path = folder / "scores.parquet"
    pd.DataFrame(rows, columns=["item", "property", "value", "score"]).to_parquet(path)
    return External.load(path, store, Candidates.from_store(store))


def _floor(name: str) -> Maker:
    return lambda store, folder: FLOORS[name](store, Candidates.from_store(store))


MAKERS: dict[str, Maker] = {
    **{name: _floor(name) for name in FLOORS},
    "nearest": lambda store, folder: Nearest(store, Candidates.from_store(store)),
    "cnn": lambda store, folder: _network(store),
    "pool": _pool,
    "external": _external,
    **{model: _embedding(model) for model in MODELS},
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with _with_a_bare_item(shop()) as store:
        yield store


def _with_a_bare_item(store: Store) -> Store:
    """The shop's tables, an item more, and a part of its training triples kept back to choose settings by."""
    items = store.items(("title", "category", "image")).to_pandas()
    images = {key: store.images.get(key) for key in items["image"].dropna()}
    triples = store.triples((None, *store.counts().splits)).to_pandas()
    bare = pd.DataFrame({"id": [BARE], "title": [None], "category": [None], "image": [None]})
    return graphstore.from_tables(pd.concat([items, bare], ignore_index=True), triples, images=images)


def _scores(predictor: Predictor, candidates: Candidates, items: list[str]) -> dict[str, np.ndarray]:
    return {property: predictor.score(property, items) for property in candidates.properties}


def test_every_candidate_of_every_property_has_a_finite_score(make: Maker, store: Store, tmp_path: Path) -> None:
    candidates = Candidates.from_store(store)
    items = store.triples()["item"].unique().to_pylist()
    for property, scores in _scores(make(store, tmp_path), candidates, items).items():
        assert scores.shape == (len(items), len(candidates.of(property)))
        assert np.isfinite(scores).all()


def test_scores_follow_the_items_and_repeat_with_them(make: Maker, store: Store, tmp_path: Path) -> None:
    predictor = make(store, tmp_path)
    whole = predictor.score("colour", ["i000", "i001", "i002", "i000"])
    np.testing.assert_allclose(predictor.score("colour", ["i002", "i000"]), whole[[2, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole[0], whole[3], rtol=1e-5, atol=1e-6)
    assert predictor.score("colour", []).shape == (0, 3)


def test_a_property_that_training_has_not_has_no_candidates(make: Maker, store: Store, tmp_path: Path) -> None:
    assert make(store, tmp_path).score("unheard", ["i000"]).shape == (1, 0)


def test_two_fits_give_the_same_scores(make: Maker, store: Store, tmp_path: Path) -> None:
    candidates, items = Candidates.from_store(store), ["i000", "i001", "i007"]
    one, other = (_scores(make(store, tmp_path), candidates, items) for _ in range(2))
    for property in candidates.properties:
        np.testing.assert_array_equal(one[property], other[property])


def test_kept_back_triples_change_no_score(make: Maker, tmp_path: Path) -> None:
    """Of `test` and the like; `valid` is there to choose by."""
    with shop() as store, shop(kept_back=False) as without:
        candidates, items = Candidates.from_store(store), store.triples()["item"].unique().to_pylist()
        one, other = (_scores(make(each, tmp_path), candidates, items) for each in (store, without))
    for property in candidates.properties:
        np.testing.assert_array_equal(one[property], other[property])


def test_an_item_of_which_nothing_is_known_is_scored_or_said_to_be_beyond_it(
    make: Maker, store: Store, tmp_path: Path
) -> None:
    predictor = make(store, tmp_path)
    if isinstance(predictor, EmbeddingPredictor):
        with pytest.raises(CannotScore, match=f"item '{BARE}' has no training triple"):
            predictor.score("colour", [BARE, "i000"])
        return
    scores = predictor.score("colour", [BARE, "i000"])
    assert scores.shape == (2, 3)
    assert np.isfinite(scores).all()
