"""What a trained run gives back to its store: vectors by `k3m embed`, proposals by `k3m complete --write`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import graphstore
import k3m
from analysis import complete
from graphstore import ReadOnlyStore, StoreNotFound
from k3m import embed, run, train
from k3m.run import Run
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY
from tests.stores import DATABASES, empty_database, ingested

HELD = (
    "MATCH (i:Item) RETURN i.id AS id, i.embedding AS vector, i.embedding_run AS run, i.embedding_model AS model, "
    "i.embedding_version AS version ORDER BY id"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of two trained runs, whose config asks for loader processes."""
    folder = tmp_path_factory.mktemp("runs")
    ingested(folder / "store.lbdb", tiny_catalogue()).close()
    found = []
    for seed in (1, 2):
        settings = ("train.epochs=1", "train.eval_triples=0", f"train.seed={seed}")
        directory = folder / f"run-{seed}"
        words = ["--store", str(folder / "store.lbdb"), "--run", str(directory)]
        train.main([*words, "--set", *TINY, *settings])
        config = directory / "config.toml"
        text = config.read_text(encoding="utf-8")
        assert "\nworkers = 0\n" in text
        config.write_text(text.replace("\nworkers = 0\n", "\nworkers = 2\n"), encoding="utf-8")
        found.append(directory)
    return found


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest) -> Any:
    where = empty_database(request.param, request)
    ingested(where, tiny_catalogue()).close()
    return str(where)


def held(location: str) -> pd.DataFrame:
    with graphstore.open(location) as store:
        return store.query(HELD)


def vectors(found: pd.DataFrame) -> np.ndarray:
    return np.array(found["vector"].tolist())


def expected(folder: Path) -> np.ndarray:
    """From a store that is read, in one piece."""
    tables, trained = tiny_catalogue(), k3m.load(folder)
    assert trained.config.data.workers == 2
    trained.config = replace(trained.config, data=replace(trained.config.data, workers=0))
    return trained.embed(graphstore.from_tables(tables.items, tables.triples, images=tables.images)).to_numpy()


def test_every_item_gets_its_vector_once(
    location: str, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for written, there in ((40, 0), (0, 40)):
        assert embed.main(["--run", str(folders[0]), "--store", location]) == 0
        text = f"{location}: {written} vectors written, {there} were there (run run-1, data version 1)\n"
        assert capsys.readouterr().out == text
        found = held(location)
        np.testing.assert_allclose(vectors(found), expected(folders[0]), atol=1e-6)  # other batches, other sums
        about = found[["run", "model", "version"]].drop_duplicates().to_numpy().tolist()
        assert about == [["run-1", k3m.load(folders[0]).fingerprint, "1"]]


def test_another_model_takes_the_place_of_the_first(location: str, folders: list[Path]) -> None:
    for folder in folders:
        embed.main(["--run", str(folder), "--store", location])
    found = held(location)
    np.testing.assert_allclose(vectors(found), expected(folders[1]), atol=1e-6)
    assert set(found["run"]) == {"run-2"}
    assert k3m.load(folders[0]).fingerprint != k3m.load(folders[1]).fingerprint


def test_what_was_cut_off_goes_on(location: str, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PART", 8)
    own, asked = Run.vectors, []

    def cut_off(self: Run, store: Any, items: Any, progress: bool = False) -> Iterator[pd.DataFrame]:
        asked.append(len(items))
        for place, part in enumerate(own(self, store, items)):
            if place == 2 and len(asked) == 1:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(Run, "vectors", cut_off)
    with pytest.raises(KeyboardInterrupt):
        embed.main(["--run", str(folders[0]), "--store", location])
    assert held(location)["vector"].notna().sum() == 16
    embed.main(["--run", str(folders[0]), "--store", location])
    assert asked == [40, 24]
    np.testing.assert_allclose(vectors(held(location)), expected(folders[0]), atol=1e-6)


def test_vectors_of_an_older_data_version_are_made_again(
    location: str, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", str(folders[0]), "--store", location]
    embed.main(words)
    before = held(location)
    tables = tiny_catalogue()
    with graphstore.open(location, "w") as store:
        title = pd.DataFrame({"id": ["item-1"], "title": ["quite another title"]})
        assert store.ingest(title, tables.triples[:0]).data_version == 2
    assert held(location).equals(before)
    embed.main(words)
    assert "40 vectors written, 0 were there (run run-1, data version 2)" in capsys.readouterr().out
    after = held(location)
    moved = np.abs(vectors(after) - vectors(before)).max(axis=1) > 1e-4
    assert after["id"][moved].tolist() == ["item-1"]
    assert set(after["version"]) == {"2"}


def proposals(location: str) -> pd.DataFrame:
    with graphstore.open(location) as store:
        return store.query(
            "MATCH (i:Item)-[p:PREDICTED]->(v:Value) RETURN i.id AS item, p.property AS property, v.text AS value, "
            "p.rank AS place, p.confidence AS confidence, p.run AS run, p.model AS model, p.status AS status "
            "ORDER BY run, item, property"
        )


def test_the_best_value_of_each_missing_cell_becomes_a_proposal(
    location: str, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--store", location, "--floors", "majority", "--report", str(tmp_path / "report")]
    for folder, text in (
        (folders[0], "proposals of run run-1: 5 new, 0 changed, 0 unchanged, 0 removed, 0 kept because of a review"),
        (folders[0], "proposals of run run-1: 0 new, 0 changed, 5 unchanged, 0 removed, 0 kept because of a review"),
        (folders[1], "proposals of run run-2: 5 new, 0 changed, 0 unchanged, 0 removed, 0 kept because of a review"),
    ):
        complete.main(["--run", str(folder), *words, "--write", "--uncalibrated"])
        assert f"{location}: {text}\n" in capsys.readouterr().out
        found = proposals(location)
        of_run = found[found["run"] == folder.name].reset_index(drop=True)
        best = pd.read_parquet(tmp_path / "report" / "completions.parquet")
        best = best[(best["split"] == "missing") & (best["rank"] == 1)].sort_values(["item", "property"])
        assert of_run[["item", "property", "value"]].to_numpy().tolist() == (
            best[["item", "property", "value"]].to_numpy().tolist()
        )
        assert set(of_run["item"]) == {"item-0"}
        assert of_run["confidence"].isna().all()
        about = of_run[["place", "model", "status"]].drop_duplicates().to_numpy().tolist()
        assert about == [[1, k3m.load(folder).fingerprint, "proposed"]]
    with graphstore.open(location) as store:
        assert store.data_version == 1


def test_without_write_nothing_is_written(location: str, folders: list[Path], tmp_path: Path) -> None:
    report = ["--floors", "majority", "--report", str(tmp_path / "report")]
    complete.main(["--run", str(folders[0]), "--store", location, *report])
    assert len(proposals(location)) == 0


def test_stores_that_take_nothing_are_refused_before_the_work(folders: list[Path], tmp_path: Path) -> None:
    with graphstore.open(folders[0].parent / "store.lbdb") as store:
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    for command in (embed.main, lambda words: complete.main([*words, "--write"])):
        with pytest.raises(ReadOnlyStore, match="snapshots are read-only"):
            command(["--run", str(folders[0]), "--store", str(tmp_path / "snapshot")])
        with pytest.raises(StoreNotFound, match="no store there"):
            command(["--run", str(folders[0]), "--store", str(tmp_path / "none.lbdb")])
    assert not (tmp_path / "none.lbdb").exists()


def test_items_that_were_ingested_after_the_training_are_evaluated_apart(folders: list[Path], tmp_path: Path) -> None:
    tables, location = tiny_catalogue(), tmp_path / "store.lbdb"
    cold = ["new-1", "new-2"]
    of_old = tables.triples[(tables.triples["item"] == "item-1") & tables.triples["split"].isna()].assign(split="cold")
    ingested(location, tables).close()
    with graphstore.open(location, "w") as store:
        items = pd.DataFrame({"id": cold, "title": ["a coat", "a hat"], "category": "coat"})
        store.ingest(items, pd.concat([of_old.assign(item=item) for item in cold]))
        words = ["--run", str(folders[0]), "--report", str(tmp_path / "report"), "--floors", "majority"]
        kept_back = store.counts().splits
    complete.main([*words, "--store", str(location), "--inductive"])
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))["link_completion"]
    assert figures["inductive"]["n"] == 2 * len(of_old) > 0
    assert sum(own["n"] for own in figures.values()) == kept_back["test"] + kept_back["cold"]
