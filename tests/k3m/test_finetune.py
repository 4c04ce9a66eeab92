"""The commands finetune and predict, on a snapshot."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graphstore
from k3m import finetune, predict
from k3m.baselines import pretraining
from k3m.tasks import models
from tests.k3m.tasks.conftest import SMALL, catalogue, store_of, tasks_of, untrained
from tests.k3m.tasks.test_er import folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a snapshot, an untrained run, and a table of pairs."""
    path = tmp_path_factory.mktemp("shop")
    store = store_of(catalogue())
    graphstore.write_snapshot(store, path / "store")
    with graphstore.open(path / "store") as snapshot:
        untrained(snapshot, path / "run")
        data = tasks_of(snapshot)["align"]
    rows = [data.part(part).table.assign(split=part) for part in ("train", "valid", "test")]
    pd.concat(rows)[["item", "other", "label", "split"]].to_csv(path / "pairs.tsv", sep="\t", header=False, index=False)
    return path


def words(place: Path, out: Path, *more: str) -> list[str]:
    own = ["--out", str(out), "--tuning.epochs", "1", "--tuning.batch-size", "16", *more]
    return ["--store", str(place / "store"), *own]


def test_a_tuned_model_is_evaluated_and_asked_about_new_items(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    run = ["--run", str(place / "run"), "--task", "align", "--data", str(place / "pairs.tsv"), "--cross"]
    assert finetune.main(words(place, out, *run)) == 0
    told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert told["examples"] == {"train": 24, "valid": 6, "test": 6}
    assert told["test"]["n"] == len(pd.read_parquet(out / "outcomes.parquet")) == 6
    assert told["test"]["threshold"] == models.load(out).threshold
    with pytest.raises(ValueError, match="holds a tuned model already"):
        finetune.main(words(place, out, *run))

    (tmp_path / "new.csv").write_text("id,title,colour\nx,red thing,red\ny,blue thing,\n", encoding="utf-8")
    (tmp_path / "new.tsv").write_text("x\ty\n", encoding="utf-8")
    asked = ["--items", str(tmp_path / "new.csv"), "--pairs", str(tmp_path / "new.tsv")]
    predict.main(["--model", str(out), "--out", str(tmp_path / "found.csv"), *asked])
    found = pd.read_csv(tmp_path / "found.csv")
    assert found[["id", "other"]].to_numpy().tolist() == [["x", "y"]]
    assert found["same"][0] == (found["score"][0] >= told["test"]["threshold"])


def test_answers_are_ranked_and_a_question_worded_anew_is_scored_apart(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    run = ["--run", str(place / "run"), "--task", "answer", "--data", "auto", "--most-train", "16", "--frozen"]
    finetune.main(words(place, out, *run))
    told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert told["test"]["n"] == told["test_unseen_template"]["n"] > 0
    with graphstore.open(place / "store") as store:
        asked = pd.DataFrame({"item": ["item-1", "item-2"], "property": ["colour", "size"]})
        found = predict.predict(models.load(out), store, asked, top=3)
    assert found["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert found.groupby("id")["score"].apply(lambda own: bool((np.diff(own) <= 0).all())).all()


def test_a_pretrained_baseline_is_tuned_from_its_folder(place: Path, tmp_path: Path) -> None:
    store = str(place / "store")
    settings = [word for setting in (*SMALL, "train.steps=2") for word in ("--set", setting)]
    own = ["--model", "vilbert_pkg", "--store", store, "--out", str(tmp_path / "own")]
    pretraining.main([*own, *settings])
    out = tmp_path / "tuned"
    run = ["--run", str(tmp_path / "own"), "--model", "vilbert_pkg", "--task", "classify", "--data"]
    table = tmp_path / "classes.tsv"
    with graphstore.open(place / "store") as snapshot:
        data = tasks_of(snapshot)["classify"]
    rows = [data.part(part).table.assign(split=part) for part in ("train", "valid", "test")]
    pd.concat(rows)[["item", "label", "split"]].to_csv(table, sep="\t", header=False, index=False)
    finetune.main(words(place, out, *run, str(table)))
    told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert told["origin"]["steps"] == 2
    with pytest.raises(ValueError, match="not a pretrained lxmert"):
        pretraining.load(tmp_path / "own", "lxmert")


def test_what_cannot_be_had_reads_not_run(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip"
    finetune.main(words(place, out, "--model", "open_clip", "--task", "align", "--data", str(place / "pairs.tsv")))
    told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert told["not_run"].startswith("not run: no weights")


def test_a_text_only_set_needs_no_store(tmp_path: Path) -> None:
    pairs = folder(tmp_path)
    with pytest.raises(ValueError, match="name a store"):
        finetune.main(["--task", "align", "--out", str(tmp_path / "out")])
    line = (tmp_path / "train.txt").read_text(encoding="utf-8")
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text(
            line + line.replace("\t1\n", "\t0\n").replace("sony", "lg"), encoding="utf-8"
        )
    own = ["--task", "align", "--data", str(pairs), "--model", "tfidf", "--out", str(tmp_path / "out")]
    finetune.main(own)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["test"]["n"] == 2
