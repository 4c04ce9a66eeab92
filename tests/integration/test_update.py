"""`k3m update`: a delta of files into the store, a run that begins with the old one's weights, what is new completed
and what is different told; stopped, resumed, with nothing to do."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import graphstore
from k3m import cli, update
from k3m.run_info import read_info
from tests.catalogues import Tables, tiny_catalogue
from tests.k3m.conftest import TINY

SETTINGS = ("train.epochs=1", "train.log_every=1", *TINY)
NEW, CHANGED, FILLED = "item-new", "item-3", "item-0"


def _files(folder: Path, tables: Tables) -> None:
    """As `loaders.demo_files` reads them."""
    (folder / "images").mkdir(parents=True)
    for key, data in tables.images.items():
        (folder / "images" / f"{key[7:]}.png").write_bytes(data)
    items = tables.items.astype(object).where(tables.items.notna(), None).to_dict("records")
    lines = [json.dumps(row | {"image": row["image"] and f"{row['image'][7:]}.png"}) for row in items]
    (folder / "items.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for split, rows in tables.triples.groupby(tables.triples["split"].fillna("")):
        text = "".join("\t".join(row) + "\n" for row in rows[["item", "property", "value"]].to_numpy().tolist())
        (folder / f"triples{split and f'-{split}'}.tsv").write_text(text, encoding="utf-8")


def _delta() -> Tables:
    """A new item, another title, and a brand for the item that had no triple."""
    titles = {NEW: "blue thing 围巾", CHANGED: "quite another title", FILLED: tiny_catalogue().items["title"][0]}
    items = pd.DataFrame(
        {"id": titles.keys(), "title": titles.values(), "category": "hat", "image": None, "price": 1.0}
    )
    rows = [(NEW, "colour", "blue"), (NEW, "brand", "Nové"), (FILLED, "brand", "Aldo")]
    triples = pd.DataFrame(rows, columns=["item", "property", "value"]).assign(split=None)
    return Tables(items, triples, {})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run on it with its report and proposals, and two folders of files."""
    folder = tmp_path_factory.mktemp("shop")
    named = _named(folder)
    tables = tiny_catalogue()
    plain = tables.triples[tables.triples["property"] != "tag"].reset_index(drop=True)  # a line break in one
    _files(folder / "files", Tables(tables.items, plain, tables.images))
    _files(folder / "delta", _delta())
    assert cli.main(["ingest", "demo", named["files"], "--store", named["store.lbdb"]]) == 0
    assert cli.main(["train", "--store", named["store.lbdb"], "--run", named["old"], "--set", *SETTINGS]) == 0
    report = [
        "--run",
        named["old"],
        "--store",
        named["store.lbdb"],
        "--floors",
        "majority",
        "--write",
        "--uncalibrated",
    ]
    assert cli.main(["complete", *report]) == 0
    return folder


def _named(folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in ("store.lbdb", "old", "new", "again", "files", "delta")}


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> dict[str, str]:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "shop")
    return _named(tmp_path / "shop")


def _words(shop: dict[str, str], files: str = "delta", run: str = "old", out: str = "new") -> list[str]:
    return ["demo", shop[files], "--store", shop["store.lbdb"], "--run", shop[run], "--out", shop[out]]


def _best(folder: str) -> dict[tuple[str, str], str]:
    rows = pd.read_parquet(Path(folder) / "complete" / "completions.parquet")
    best = rows[(rows["rank"] == 1) & (rows["split"] == "missing")]
    cells = zip(best["item"].tolist(), best["property"].tolist(), strict=True)
    return dict(zip(cells, best["value"].tolist(), strict=True))


def _proposed(store: str) -> set[tuple[str, str, str]]:
    with graphstore.open(store) as opened:
        found = opened.query(
            "MATCH (i:Item)-[p:PREDICTED]->() RETURN i.id AS item, p.property AS property, p.run AS run"
        )
    return set(found.itertuples(index=False, name=None))


@pytest.mark.slow
def test_an_update_from_end_to_end(shop: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    before = _best(shop["old"])
    assert {item for item, _ in before} == {FILLED}
    assert {(item, name) for item, name, _ in _proposed(shop["store.lbdb"])} == before.keys()
    capsys.readouterr()
    assert cli.main(["update", *_words(shop), "--write", "--uncalibrated"]) == 0
    told = capsys.readouterr().out
    found: dict[str, Any] = json.loads((Path(shop["new"]) / "update" / "differences.json").read_text(encoding="utf-8"))
    own = _best(shop["new"])
    # What the new item lacks, and what the changed ones still lack; nothing of the other forty.
    asked = {(NEW, "size"), (NEW, "fabric")} | {cell for cell in before if cell != (FILLED, "brand")}
    assert own.keys() == asked
    assert found["data_version"] == {"before": 1, "after": 2}
    assert found["items"] == {"new": 1, "changed": 2, "removed": 0}
    assert found["missing"] == {"before": len(before), "after": len(asked), "completed": len(asked)}
    changed = sum(own[cell] != before[cell] for cell in before.keys() & own.keys())
    kinds = {"new": 2, "gone": 1, "changed": changed, "same": len(before) - 1 - changed}
    assert found["completions"] == kinds
    assert found["metrics"]["valid"]["mrr"]["after"] >= found["metrics"]["valid"]["mrr"]["before"] > 0
    assert found["metrics"]["test"]["mrr"].keys() == {"before", "after"}
    rows = pd.read_parquet(Path(shop["new"]) / "update" / "differences.parquet")
    gone = rows[rows["kind"] == "gone"]
    told_of = gone[["item", "property", "before"]].to_numpy().tolist()
    assert told_of == [[FILLED, "brand", before[FILLED, "brand"]]]
    assert gone["after"].isna().all()
    assert "proposals gone                       1" in told
    assert f"open ones withdrawn           {len(before):>8}" in told
    assert _proposed(shop["store.lbdb"]) == {(*cell, "new") for cell in own}
    info = read_info(Path(shop["new"]))
    assert (info["warm_from"]["run"], info["data_version"]) == (shop["old"], 2)
    tokenizers = [(Path(shop[name]) / "tokenizer.json").read_bytes() for name in ("old", "new")]
    assert tokenizers[0] == tokenizers[1]
    # A second update goes on from the first, and has nothing to do.
    assert cli.main(["update", *_words(shop, run="new", out="again")]) == 0
    assert capsys.readouterr().out.endswith("the files changed nothing; nothing was trained\n")
    assert not Path(shop["again"]).exists()


@pytest.mark.slow
def test_where_the_files_change_nothing_nothing_is_trained(
    shop: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["update", *_words(shop, files="files")]) == 0
    assert f"{shop['store.lbdb']}: the files changed nothing; nothing was trained\n" in capsys.readouterr().out
    assert not Path(shop["new"]).exists()
    cli.main(["ingest", "demo", shop["delta"], "--store", shop["store.lbdb"]])
    assert cli.main(["update", *_words(shop)]) == 0
    assert (
        f"{shop['old']} was trained on data version 1, the store is at 2: k3m train --from" in capsys.readouterr().out
    )


class Stops:
    """The commands, of which one ends in an error the first time, before or after its work."""

    def __init__(self, name: str, after: bool) -> None:
        self.name, self.after, self.called = name, after, list[str]()

    def __call__(self, name: str) -> Callable[[Sequence[str]], int | None]:
        def main(words: Sequence[str]) -> int | None:
            stops = name == self.name and name not in self.called
            self.called.append(name)
            if stops and not self.after:
                raise RuntimeError("stopped")
            done = cli.command(name)(words)
            if stops:
                raise RuntimeError("stopped")
            return done

        return main


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after", "called"),
    [
        ("ingest", True, ["ingest", "ingest", "train", "complete"]),
        ("train", True, ["ingest", "train", "train", "complete"]),
        ("complete", False, ["ingest", "train", "complete", "complete"]),
    ],
)
def test_a_stopped_update_goes_on_behind_what_is_done(
    shop: dict[str, str], name: str, after: bool, called: list[str]
) -> None:
    commands = Stops(name, after)
    with pytest.raises(RuntimeError, match="stopped"):
        update.main(_words(shop), command=commands)
    with pytest.raises(ValueError, match=r"update was begun with ingest .* name another folder"):
        update.main(_words(shop, files="files"), command=commands)
    assert update.main(_words(shop), command=commands) == 0
    assert commands.called == called
    found = json.loads((Path(shop["new"]) / "update" / "differences.json").read_text(encoding="utf-8"))
    assert found["items"] == {"new": 1, "changed": 2, "removed": 0}
    assert found["completions"]["new"] == 2
    commands.called.clear()
    assert update.main(_words(shop), command=commands) == 0  # all is done
    assert commands.called == []


@pytest.mark.slow
def test_repeated_with_write_it_writes_before_it_withdraws(shop: dict[str, str]) -> None:
    """What is withdrawn of the old run has the new one's proposals in its place."""
    assert cli.main(["update", *_words(shop)]) == 0
    assert {run for *_, run in _proposed(shop["store.lbdb"])} == {"old"}
    assert cli.main(["update", *_words(shop), "--write", "--uncalibrated"]) == 0
    assert _proposed(shop["store.lbdb"]) == {(*cell, "new") for cell in _best(shop["new"])}
    commands = Stops("none", after=False)
    assert update.main([*_words(shop), "--write", "--uncalibrated"], command=commands) == 0
    assert commands.called == []
    update.main([*_words(shop), "--write", "--precision", "0.9", "--uncalibrated"], command=commands)
    assert commands.called == ["complete"]


@pytest.mark.slow
def test_what_an_update_refuses(shop: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a run already: name another folder"):
        update.main(_words(shop, out="old"), command=cli.command)
    with pytest.raises(ValueError, match="holds no finished run"):
        update.main(_words(shop, run="again"), command=cli.command)
