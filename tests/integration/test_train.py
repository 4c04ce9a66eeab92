"""`python -m k3m.train` on a tiny catalogue, to the end, stopped, resumed, refused."""

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import graphstore
import k3m
from k3m import train
from k3m.batch import ProductBatch
from k3m.checkpoint import CheckpointError
from k3m.config import Config
from k3m.run import RunNotFound
from k3m.trainer import Trainer
from tests.catalogues import KEPT_BACK_ONLY, tiny_catalogue
from tests.k3m.conftest import TINY


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("store") / "store.lbdb"
    tables = tiny_catalogue()
    with graphstore.open(path, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples)
    return str(path)


def _train(location: str, run: Path, *words: str, settings: tuple[str, ...] = ("train.epochs=2",)) -> None:
    train.main(["--store", location, "--run", str(run), *words, "--set", *TINY, "train.log_every=1", *settings])


def _metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(location: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    _train(location, run)
    return run


def test_the_run_folder(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.toml",
        "tokenizer.json",
        "candidates.parquet",
        "applicability.parquet",
        "items.npy",
        "run.json",
        "metrics.jsonl",
        "health.svg",
        "checkpoint.safetensors",
        "weights.safetensors",
    }
    info = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    assert info["data_version"] == 1
    assert info["visible"] == ["title", "image"]
    assert info["items"] == 40
    steps = [line for line in _metrics(finished) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 11))  # 40 items in batches of 8, twice
    assert all({"lpm", "mlm", "mom", "items_per_second"} <= line.keys() for line in steps)
    assert [line["step"] for line in _metrics(finished) if "valid_mrr" in line] == [5, 10]


def test_a_trained_run_completes_and_embeds_its_store(finished: Path, location: str) -> None:
    run = k3m.load(finished)
    with graphstore.open(location) as store:
        item = "item-0"  # the one without triples
        completions = run.complete(store, items=[item], top=2)
        vectors = run.embed(store)
        known = store.triples((None, *store.counts().splits)).to_pandas()
    held = set(known.loc[known["item"] == item, "property"])
    assert len(completions)
    assert set(completions["item"]) == {item}
    assert not held & set(completions["property"])
    assert completions["rank"].max() == 2
    assert completions["applies"].between(0.05, 1).all()
    for _, cell in completions.groupby("property"):
        assert cell["score"].is_monotonic_decreasing
        assert cell["rank"].tolist() == list(range(1, len(cell) + 1))
        assert set(cell["value"]) <= set(run.candidates.of(cell["property"].iloc[0]))
    assert vectors.shape == (40, 16)
    assert vectors.index.is_monotonic_increasing
    assert np.isfinite(vectors.to_numpy()).all()


def test_a_table_of_new_items_is_completed(finished: Path) -> None:
    run = k3m.load(finished)
    tables = tiny_catalogue()
    known_property = run.candidates.properties[0]
    frame = pd.DataFrame(
        {
            "id": ["new1", "new2"],
            "title": ["something new", None],
            "image": [next(iter(tables.images.values())), None],
            "category": [tables.items["category"].dropna().iloc[0], "never seen"],
            known_property: [run.candidates.of(known_property)[0], None],
        }
    )
    completions = run.complete(frame, top=3)
    assert set(completions["item"]) == {"new1", "new2"}
    assert known_property not in set(completions.loc[completions["item"] == "new1", "property"])
    assert run.complete(frame, items=["new2"], top=3).equals(
        completions[completions["item"] == "new2"].reset_index(drop=True)
    ) or np.allclose(
        run.complete(frame, items=["new2"], top=3)["score"],
        completions.loc[completions["item"] == "new2", "score"],
        atol=1e-5,
    )


def _stopped_before_a_step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
    if self.state.step == 7:
        raise KeyboardInterrupt
    return OWN_STEP(self, batch)


def _stopped_within_a_step(self: Trainer, batch: ProductBatch) -> dict[str, float]:
    """The optimiser has moved the weights, and the count does not say so yet."""
    losses = OWN_STEP(self, batch)
    if self.state.step == 6:
        signal.raise_signal(signal.SIGTERM)
    return losses


def _stopped_within_validation(self: Trainer) -> float | None:
    raise KeyboardInterrupt


OWN_STEP = Trainer._train_step


@pytest.mark.parametrize(
    ("part", "stop", "step"),
    [
        ("_train_step", _stopped_before_a_step, 7),
        ("_train_step", _stopped_within_a_step, 7),
        ("valid_mrr", _stopped_within_validation, 5),
    ],
)
def test_resumed_equals_undisturbed(
    location: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    stop: Callable[..., object],
    step: int,
) -> None:
    monkeypatch.setattr(Trainer, part, stop)
    with pytest.raises(SystemExit, match=f"stopped after step {step}: --resume goes on from there"):
        _train(location, tmp_path / "run")
    monkeypatch.undo()
    _train(location, tmp_path / "run", "--resume")
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        ours, theirs = load_file(tmp_path / "run" / name), load_file(finished / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for own, other in zip(_metrics(tmp_path / "run"), _metrics(finished), strict=True):
        assert own | {"items_per_second": 0.0} == other | {"items_per_second": 0.0}


def test_what_a_run_refuses(location: str, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a run already: add --resume"):
        _train(location, finished)
    with pytest.raises(ValueError, match="was begun with other settings"):
        _train(location, finished, "--resume", settings=("train.epochs=3",))
    with pytest.raises(RunNotFound, match=r"holds no finished run: config.toml is missing"):
        k3m.load(tmp_path)
    empty = tmp_path / "empty.lbdb"
    graphstore.open(empty, "w").close()
    with pytest.raises(ValueError, match="has no training triples: ingest a catalogue first"):
        _train(str(empty), tmp_path / "run")


def test_a_store_that_moved_on_is_not_resumed_on(tmp_path: Path, location: str, finished: Path) -> None:
    info = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    copy = tmp_path / "run"
    copy.mkdir()
    for path in finished.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "run.json").write_text(json.dumps(info | {"data_version": 0}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"was begun on data version 0, .* is at 1: start a new run"):
        _train(location, copy, "--resume")


def test_a_time_limit_leaves_a_run_that_resume_ends_as_if_undisturbed(
    location: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked for at the start, once before the first step and after each: the minute is over after the third.
    minutes = iter([0.0, 0.0, 0.1, 0.2, 1.1])
    monkeypatch.setattr("k3m.trainer.monotonic", lambda: 60 * next(minutes, 1.2))
    _train(location, tmp_path / "run", "--max-minutes", "1")
    monkeypatch.undo()
    lines = _metrics(tmp_path / "run")
    assert max(line["step"] for line in lines) == 3
    assert "valid_mrr" in lines[-1]  # what there is can be used
    _train(location, tmp_path / "run", "--resume")
    ours, theirs = (load_file(folder / "checkpoint.safetensors") for folder in (tmp_path / "run", finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("state"))


def test_validations_without_a_better_one_stop_the_run(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([0.4, 0.5, 0.3, 0.45, 0.6])
    monkeypatch.setattr(Trainer, "_first_mrr", lambda self: next(found))
    _train(location, tmp_path / "run", settings=("train.epochs=9", "train.patience=2"))
    assert [line["valid_mrr"] for line in _metrics(tmp_path / "run") if "valid_mrr" in line] == [0.4, 0.5, 0.3, 0.45]


def test_refit_trains_on_all_triples_to_the_best_step(location: str, finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in finished.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    train.main(["--store", location, "--run", str(copy), "--refit"])
    best = max((line for line in _metrics(copy) if "valid_mrr" in line), key=lambda line: line["valid_mrr"])
    assert max(line["step"] for line in _metrics(copy / "refit")) == best["step"]
    with graphstore.open(location) as store:
        counts = store.counts()
        refitted = k3m.load(copy / "refit")
        assert refitted.info["training_triples"] == counts.triples > counts.training_triples
        assert refitted.info["refit_of"] == str(copy)
        assert KEPT_BACK_ONLY in refitted.candidates.of("fabric")  # a value of the kept-back triples alone
        assert len(refitted.complete(store, top=1)) > 0


def test_refit_needs_a_finished_run(location: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run with a validation"):
        train.main(["--store", location, "--run", str(tmp_path), "--refit"])


WARM = ("warm.epochs=2", "warm.peak_lr=3e-4", "data.batch_size=8")


def _warm(location: str, run: Path, finished: Path, *words: str, settings: tuple[str, ...] = WARM) -> None:
    train.main(["--store", location, "--run", str(run), "--from", str(finished), *words, "--set", *settings])


@pytest.fixture(scope="module")
def warm(location: str, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "warm"
    _warm(location, run, finished)
    return run


def test_a_warm_start_has_the_other_run_s_weights_at_step_0(location: str, finished: Path, tmp_path: Path) -> None:
    arguments = train.Arguments(store=location, run=tmp_path / "run", start_from=finished, set=WARM)
    with graphstore.open(location) as store:
        trainer = train.start(store, tmp_path / "run", train.config_of(arguments), warm=finished)
    expected = load_file(finished / "weights.safetensors")
    own = trainer.model.state_dict()
    assert all(torch.equal(own[name], weight) for name, weight in expected.items())
    assert len(expected) > 20
    best = max(line["valid_mrr"] for line in _metrics(finished) if "valid_mrr" in line)
    assert [(line["step"], line["valid_mrr"]) for line in _metrics(tmp_path / "run")] == [(0, best)]
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (finished / "tokenizer.json").read_bytes()
    assert k3m.load(tmp_path / "run").fingerprint == k3m.load(finished).fingerprint


def test_a_warm_start_has_the_other_run_s_settings_and_less_training(finished: Path, warm: Path) -> None:
    old, new = k3m.load(finished), k3m.load(warm)
    assert (new.config.train.epochs, new.config.optim.peak_lr) == (2, 3e-4)
    assert dataclasses.replace(new.config, train=old.config.train, optim=old.config.optim, warm=old.config.warm) == (
        old.config
    )
    assert new.info["warm_from"] == {"run": str(finished), "model": old.fingerprint}
    lines = _metrics(warm)
    assert max(line["step"] for line in lines) == 10
    # The best weights are kept, those of the beginning among them.
    validated = [line["valid_mrr"] for line in lines if "valid_mrr" in line]
    kept = new.fingerprint == old.fingerprint
    assert len(validated) == 3
    assert kept == (validated[0] == max(validated))
    again = Config.warm_from(warm / "config.toml")  # of the warm one: no lower, no shorter
    assert (again.train.epochs, again.optim.peak_lr) == (2, 3e-4)
    plain = Config.warm_from(finished / "config.toml")
    assert (plain.train.epochs, plain.optim.peak_lr) == (1, old.config.optim.peak_lr)
    other = Config.warm_from(finished / "config.toml", ["train.epochs=5", "optim.peak_lr=0.01"])
    assert (other.train.epochs, other.optim.peak_lr) == (5, 0.01)


def test_a_warm_start_that_was_stopped_goes_on_as_if_undisturbed(
    location: str, finished: Path, warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first validation, then before its first checkpoint, then within a step."""
    monkeypatch.setattr(Trainer, "begin_warm", _stopped_within_validation)
    with pytest.raises(KeyboardInterrupt):
        _warm(location, tmp_path / "run", finished)
    monkeypatch.undo()
    monkeypatch.setattr(Trainer, "_save", _stopped_within_validation)
    with pytest.raises(KeyboardInterrupt):
        _warm(location, tmp_path / "run", finished, "--resume")
    monkeypatch.undo()
    monkeypatch.setattr(Trainer, "_train_step", _stopped_within_a_step)
    with pytest.raises(SystemExit, match="stopped after step 7"):
        _warm(location, tmp_path / "run", finished, "--resume")
    monkeypatch.undo()
    _warm(location, tmp_path / "run", finished, "--resume")
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        ours, theirs = load_file(tmp_path / "run" / name), load_file(warm / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    resumed, undisturbed = (
        [{name: value for name, value in line.items() if name != "items_per_second"} for line in _metrics(run)]
        for run in (tmp_path / "run", warm)
    )
    assert resumed == undisturbed  # the weights of the beginning are validated, once


def test_what_a_warm_start_refuses(location: str, finished: Path, warm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run to begin with: config.toml is missing"):
        _warm(location, tmp_path / "run", tmp_path)
    with pytest.raises(ValueError, match=r"--from takes the settings of a run: leave --preset out"):
        _warm(location, tmp_path / "run", finished, "--preset", "paper")
    names = "fuse_image.gate_presence.weight, fuse_text.gate_presence.weight, inverse.bias, inverse.weight"
    every = ", ".join(f"{name} is missing" for name in names.split(", "))
    with pytest.raises(CheckpointError, match=f"does not fit the model: 4 tensors differ: {every}$"):
        _warm(location, tmp_path / "run", finished, settings=("model.presence=true", "loss.reciprocal=true"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="began with another run's weights: refit a run that did not"):
        train.main(["--store", location, "--run", str(warm), "--refit"])


def test_health_is_measured_and_drawn(finished: Path, location: str, tmp_path: Path) -> None:
    _train(location, tmp_path / "run", settings=("train.epochs=2", "train.health_every=2"))
    measured = [line for line in _metrics(tmp_path / "run") if "gradient_lpm" in line]
    assert len(measured) == 5
    assert all(line[f"gradient_{name}"] > 0 for line in measured for name in ("lpm", "mlm", "mom"))
    assert all(0 < line[f"alone_{name}"] < 1 for line in measured for name in ("text", "image"))
    assert "norm of the weighted gradient" in (tmp_path / "run" / "health.svg").read_text(encoding="utf-8")
    # Measuring changes nothing of the training.
    ours, theirs = load_file(tmp_path / "run" / "weights.safetensors"), load_file(finished / "weights.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_weights_of_another_shape_are_refused(finished: Path, tmp_path: Path) -> None:
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tmp_path / "config.toml").read_text(encoding="utf-8").replace("width = 16", "width = 32")
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    with pytest.raises(ValueError, match=r"does not fit the model: \d+ tensors differ: .*\bis \d+ x 16, not \d+ x 32"):
        k3m.load(tmp_path)


def test_a_second_hop_changes_no_step_of_this_model_and_its_hubs_are_shown(
    location: str, finished: Path, tmp_path: Path
) -> None:
    settings = ("train.epochs=2", "data.fan_out=64,3", "data.hub_limit=8")
    _train(location, tmp_path / "run", settings=settings)
    steps, expected = ([line for line in _metrics(run) if "loss" in line] for run in (tmp_path / "run", finished))
    assert [line["loss"] for line in steps] == [line["loss"] for line in expected]
    assert all(line["hubs"] > 0 for line in steps)
    assert "hubs" not in expected[0]
