"""The network on photographs: its parts by hand, a fit that was stopped, what it reads and what it does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.cnn import Block, Cnn, Settings, log_softmax_by, shifted
from graphstore import Store
from k3m.candidates import Candidates
from tests.analysis.shop import shop

SMALL = Settings(channels=(8, 16), size=(12, 16), epochs=3, batch_size=16, lr=0.02)


def test_a_softmax_within_groups_of_columns() -> None:
    logits = torch.tensor([[1.0, 3.0, 900.0, 900.0], [0.0, 0.0, -500.0, 0.0]])
    found = log_softmax_by(logits, torch.tensor([0, 0, 1, 1])).exp()
    shares = torch.tensor([[0.1192, 0.8808, 0.5, 0.5], [0.5, 0.5, 0.0, 1.0]])
    torch.testing.assert_close(found, shares, atol=1e-4, rtol=0)


def test_a_shift_moves_and_turns_and_repeats_the_edge() -> None:
    pixels = torch.tensor([[0, 1, 2], [0, 1, 2]], dtype=torch.uint8).view(1, 2, 3, 1).expand(100, 2, 3, 3)
    moved = shifted(pixels, 1, torch.Generator().manual_seed(0))[:, 0, :, 0]
    as_they_were, turned = {(0, 1, 2), (0, 0, 1), (1, 2, 2)}, {(2, 1, 0), (1, 0, 0), (2, 2, 1)}
    assert set(map(tuple, moved.tolist())) == as_they_were | turned
    upright = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1).expand(100, 3, 1, 3)
    moved = shifted(upright, 1, torch.Generator().manual_seed(0))[:, :, 0, 0]
    assert set(map(tuple, moved.tolist())) == as_they_were  # never upside down


def test_a_block_s_shortcut_is_the_mean_of_four_pixels() -> None:
    block = Block(1, 2).eval()
    torch.nn.init.zeros_(block.second.weight)
    found = block(torch.tensor([[[[1.0, 3.0, 5.0], [5.0, 7.0, 9.0]]]]))
    torch.testing.assert_close(found, torch.tensor([[[[4.0, 7.0]], [[0.0, 0.0]]]]))


@pytest.fixture(scope="module")
def store() -> Store:
    return shop(120)


def _cnn(store: Store, settings: Settings = SMALL, cache: Path | None = None) -> Cnn:
    return Cnn(store, Candidates.from_store(store), settings, cache)


@pytest.mark.slow
def test_it_sees_the_colour_and_nothing_else(store: Store) -> None:
    network, kept_back = (
        _cnn(store, Settings(channels=(8, 16), size=(12, 16), epochs=12, batch_size=16, lr=0.02)),
        store.triples(("test",)).to_pandas(),
    )
    pictured = set(store.items(("image",)).to_pandas().dropna()["id"])
    hits = {}
    for property, asked in kept_back[kept_back["item"].isin(pictured)].groupby("property"):
        best = network.score(str(property), asked["item"].tolist()).argmax(axis=1)
        hits[property] = (network.candidates.of(str(property))[best] == asked["value"]).mean()
    assert hits["colour"] > 0.9
    assert hits["shape"] < 0.8


def test_scores_are_log_probabilities_and_without_a_photograph_shares(store: Store) -> None:
    network = _cnn(store)
    scores = network.score("colour", ["i000", "i007"])  # i007 has no photograph
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)
    counts = network.candidates.counts("colour")
    np.testing.assert_allclose(scores[1], np.log(counts / counts.sum()), rtol=1e-5)


def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, epoch = _cnn(store), Cnn._epoch

    def stopped(self: Cnn, number: int, *rest: object) -> None:
        if number == 1:
            raise KeyboardInterrupt
        epoch(self, number, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Cnn, "_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            _cnn(store, cache=tmp_path)
    resumed = _cnn(store, cache=tmp_path)
    np.testing.assert_array_equal(resumed.score("colour", ["i000"]), whole.score("colour", ["i000"]))
    with monkeypatch.context() as patch:
        patch.setattr(Cnn, "_epoch", stopped)  # nothing is left to fit
        again = _cnn(store, cache=tmp_path)
    np.testing.assert_array_equal(again.score("colour", ["i000"]), whole.score("colour", ["i000"]))


def test_what_is_kept_belongs_to_its_settings_and_data(store: Store, tmp_path: Path) -> None:
    for settings, data in (
        (SMALL, store),
        (Settings(channels=(8, 16), size=(12, 16), epochs=1), store),
        (SMALL, shop(60)),
    ):
        _cnn(data, settings, tmp_path)
    assert len(list(tmp_path.glob("cnn-*.safetensors"))) == 3
