"""All entities ranked, both ways: by hand, on both layouts, gone on with where it was stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import linkpred, peers
from analysis.embeddings import Settings
from analysis.linkpred import Benchmark, Plan
from analysis.table import Row

TRAIN = "a\tr\tb\na\tr\tc\nb\ts\tc\n"
SETTINGS = """
[DistMult]
epochs = 4
check = 2
[DistMult.settings]
model = "DistMult"
training = "all"
dimension = 8
inverse = true
"""


def _codex(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in (("train", TRAIN), ("valid", "c\tr\ta\n"), ("test", "a\tr\td\nb\ts\ta\n")):
        (folder / f"{name}.txt").write_text(text)
    return folder


class Scores:
    """In the place of an embedding: tails by how late they stand in the alphabet, heads by how early."""

    class model:
        eval = staticmethod(lambda: None)

    def score_tails(self, pairs: torch.Tensor) -> torch.Tensor:
        return torch.arange(4.0).repeat(len(pairs), 1)

    def score_heads(self, pairs: torch.Tensor) -> torch.Tensor:
        return -torch.arange(4.0).repeat(len(pairs), 1)


def test_ranks_of_heads_and_tails_by_hand(tmp_path: Path) -> None:
    benchmark = Benchmark.read(_codex(tmp_path))
    assert (benchmark.num_entities, benchmark.num_relations) == (4, 2)
    # Heads: of (?, r, d) a is first. Of (?, s, a) b comes behind a, nothing is filtered.
    # Tails: of (a, r, ?) d is last and best. Of (b, s, ?) a is behind b and d, since c is true too.
    ranks = benchmark.ranks(Scores(), benchmark.test)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ranks, [1, 2, 1, 3])
    assert linkpred.figures(ranks) == {
        "mrr": (1 + 1 / 2 + 1 + 1 / 3) / 4,
        "hits_at_1": 0.5,
        "hits_at_3": 1,
        "hits_at_10": 1,
    }


def test_a_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    benchmark = Benchmark.read(_codex(tmp_path / "data"))
    settings = Settings(model="DistMult", training="all", dimension=8, inverse=True)
    plans = [Plan(settings=settings, epochs=epochs, check=2, patience=9) for epochs in (6, 2)]
    whole, looks = linkpred.trained(plans[0], benchmark, tmp_path / "whole")
    linkpred.trained(plans[1], benchmark, tmp_path / "parts")
    resumed, others = linkpred.trained(plans[0], benchmark, tmp_path / "parts")
    assert [(look.epoch, look.mrr) for look in looks] == [(look.epoch, look.mrr) for look in others]
    assert [look.epoch for look in looks] == [2, 4, 6]
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_patience_ends_a_training_and_the_best_weights_are_taken(tmp_path: Path) -> None:
    benchmark = Benchmark.read(_codex(tmp_path / "data"))
    still = Settings(model="DistMult", training="all", dimension=8, lr=1e-9)
    best, looks = linkpred.trained(Plan(settings=still, epochs=50, check=1, patience=2), benchmark, tmp_path / "run")
    assert [look.epoch for look in looks] == [1, 2, 3]
    assert best.epoch == 1


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path / "settings.toml"


def test_the_command_on_a_folder_as_codex_has_it(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers.main(peers.Arguments(triples=_codex(tmp_path / "data"), settings=settings, out=tmp_path / "out"))
    row = Row.read(tmp_path / "out" / "distmult")
    assert row.settings["training"] == "all"
    mrr = f"{row.figures['test']['mrr']:.4f}".removeprefix("0")
    assert f"| DistMult | 1 | 0.0 | {mrr} | " in capsys.readouterr().out


def test_the_command_on_a_folder_as_openbg_img_has_it(settings: Path, tmp_path: Path) -> None:
    """A generated one: the test lines have no tail, so that half of dev chooses and half is ranked."""
    lines = {"train": TRAIN, "dev": "".join(f"e{n}\tr\tb\n" for n in range(20)), "test": "a\tr\nb\ts\n"}
    for name, text in lines.items():
        (tmp_path / f"OpenBG-IMG_{name}.tsv").write_text(text)
    benchmark = Benchmark.read(tmp_path)
    assert len(benchmark.train) == 3
    assert len(benchmark.valid) + len(benchmark.test) == 20
    assert 4 < len(benchmark.test) < 16
    peers.main(peers.Arguments(triples=tmp_path, settings=settings, out=tmp_path / "out"))
    assert 0 < Row.read(tmp_path / "out" / "distmult").figures["test"]["mrr"] <= 1


def test_where_the_data_cannot_be_had_the_row_says_so(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = peers.Arguments(triples=tmp_path / "nowhere", settings=settings, out=tmp_path / "out")
    peers.main(arguments)
    assert "| DistMult |  |  | not run: " in capsys.readouterr().out
    _codex(tmp_path / "nowhere")
    peers.main(arguments)  # and is run when they are there
    assert not Row.read(tmp_path / "out" / "distmult").note


def test_wrong_lines_and_settings_are_named(tmp_path: Path) -> None:
    folder = _codex(tmp_path / "data")
    (folder / "valid.txt").write_text("a\tr\tb\na\tr\n")
    with pytest.raises(ValueError, match=r"valid.txt, line 2: expected head, relation and tail, got 2 cells"):
        Benchmark.read(folder)
    (folder / "valid.txt").write_text("")
    with pytest.raises(ValueError, match="split valid has no triples"):
        Benchmark.read(folder)
    (tmp_path / "settings.toml").write_text("[TransE]\nepoch = 3\n")
    with pytest.raises(ValueError, match=r"settings.toml: TransE: .* 'epoch'"):
        Plan.load(tmp_path / "settings.toml")
