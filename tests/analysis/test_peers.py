"""The command on a store: a study within its budget, stopped and gone on with; what cannot be scored; one table."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import graphstore
from analysis import peers
from analysis.peers import Arguments
from analysis.table import Row
from analysis.tuning import Budget, Tuning

ITEMS, KINDS = 300, 3


def _catalogue() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The kind of an item decides its colour; some of the colours are kept back. A cold item has no training triple."""
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


def _budget(**options: Any) -> Budget:
    return Budget(**{"trials": 2, "epochs": 4, "dimension": 16, "minutes": 5.0} | options)


@pytest.mark.slow
@pytest.mark.parametrize("training", ["margin", "nssa", "all"])
def test_it_learns_what_the_training_triples_tell(training: Any, tmp_path: Path) -> None:
    with graphstore.open(_stored(tmp_path)) as store:
        tuning = Tuning.of(store, "TransE", training, tmp_path / "study", _budget(trials=4, epochs=80, check=40))
        untrained = tuning.graph.embedding(tuning.settings(tuning.study().ask()))
        predictor, study = tuning.best()
        assert tuning.mrr(untrained) < 0.7  # by chance .61
        assert tuning.mrr(predictor.embedding) == study.best_value > 0.75


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped_and_what_is_done_stays(tmp_path: Path) -> None:
    location, out = _stored(tmp_path), tmp_path / "out"

    def run(trials: int) -> Row:
        peers.main(
            Arguments(store=location, out=out, models=("ComplEx",), trainings=("all",), budget=_budget(trials=trials))
        )
        return Row.read(out / "complex-all")

    with graphstore.open(location) as store:
        first = Tuning.of(store, "ComplEx", "all", out / "complex-all", _budget(trials=1))
        study = first.best()[1]
    (out / "complex-all" / "trial-7.safetensors").write_bytes(b"of a trial that was cut off")
    row = run(3)
    assert len(list((out / "complex-all").glob("trial-*.safetensors"))) == 1
    trials = first.study().trials
    assert trials[0].params == study.trials[0].params
    assert len({str(trial.params) for trial in trials}) == row.trials == 3
    assert run(3) == row  # done is done
    with pytest.raises(ValueError, match="begun with another budget: name another folder"):
        run(9)
    assert row.figures["test"]["n"] == 60
    assert row.figures["cold"] == "cannot"
    ranks = pd.read_parquet(out / "complex-all" / "ranks.parquet")
    assert set(ranks["split"]) == {"test"}
    assert (1 / ranks["rank"]).mean() == row.figures["test"]["mrr"]


@pytest.mark.slow
def test_no_trial_is_begun_when_the_minutes_are_over(tmp_path: Path) -> None:
    with graphstore.open(_stored(tmp_path)) as store:
        budget = _budget(trials=50, epochs=40, check=1, minutes=0.0)
        predictor, study = Tuning.of(store, "TransE", "all", tmp_path / "study", budget).best()
    assert len(study.trials) == 1
    assert predictor.embedding.epoch == 1


@pytest.mark.slow
def test_floors_outside_predictors_and_embeddings_stand_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    triples = _catalogue()[1]
    answers = triples[triples["split"].isin(["test", "cold"])].assign(score=1.0)
    answers[["item", "property", "value", "score"]].to_parquet(tmp_path / "oracle.parquet", index=False)
    location = _stored(tmp_path)
    peers.main(
        Arguments(
            store=location,
            out=tmp_path / "out",
            floors=("majority", "nearest"),
            external=(tmp_path / "oracle.parquet",),
            gds=True,
            models=("DistMult",),
            trainings=("nssa",),
            budget=_budget(trials=1),
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model | trials or seeds | minutes | test MRR | test H@1 | test H@10 | cold MRR |")
    cells = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[3:] for row in lines[2:]}
    assert cells["oracle"] == ["1.0000", "1.0000", "1.0000", "1.0000", "1.0000", "1.0000 |"]
    assert cells["DistMult, nssa"][3] == "cannot"
    assert set(cells) == {"oracle", "DistMult, nssa", "majority", "nearest", "GDS nodeSimilarity"}
    assert cells["GDS nodeSimilarity"][0] == f"not run: no GDS at {location}"


def test_a_store_without_triples_to_tune_on_is_refused(tmp_path: Path) -> None:
    location = _stored(tmp_path, without="valid")
    with pytest.raises(ValueError, match="has nothing to tune on: expected triples of split valid"):
        peers.main(Arguments(store=location, out=tmp_path / "study", models=("TransE",), trainings=("nssa",)))


def test_a_store_or_triples_and_their_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected either --store or --triples"):
        Arguments(out=tmp_path)
    with pytest.raises(ValueError, match="--triples and --settings go together"):
        Arguments(out=tmp_path, triples=tmp_path)


def test_a_folder_is_of_one_catalogue_and_of_its_splits(tmp_path: Path) -> None:
    """What is done there would otherwise stand in the table of others; models are asked for under one budget."""
    location, out = _stored(tmp_path), tmp_path / "out"
    options: dict[str, Any] = {"out": out, "floors": ("majority",), "models": ()}
    peers.main(Arguments(store=location, **options))
    row = Row.read(out / "majority")
    peers.main(Arguments(store=location, **options, budget=_budget(trials=9)))  # of no model
    assert Row.read(out / "majority") == row
    (tmp_path / "other").mkdir()
    other = _stored(tmp_path / "other", without="valid")
    for changed in ({"store": location, "evaluate": ("test",)}, {"store": other}):
        name = "evaluate" if "evaluate" in changed else "counts"
        with pytest.raises(ValueError, match=f"out was begun with another {name}: name another folder"):
            peers.main(Arguments(**options | changed))


@pytest.mark.parametrize("name", ["majority", "pool", "gds", "cache", "transe-nssa", "tucker-all", "own"])
def test_an_outside_predictor_takes_no_other_s_folder(name: str, tmp_path: Path) -> None:
    files = (Path("a/own.parquet"), Path(f"b/{name}.parquet"))
    with pytest.raises(ValueError, match=f"--external b/{name}.parquet: the folder {name} is another's; rename"):
        Arguments(out=tmp_path, store="s", external=files)
