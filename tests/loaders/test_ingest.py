import os
import re
from pathlib import Path

import pytest

import graphstore
from loaders import demo, ingest
from loaders.catalogue import CatalogueError
from tools.neo4j import server

PAIRS = "brand#:#b{}#;#size#:#S#;#fit#:#slim"
TAOBAO = "".join(f"{number}\titem {number}\t\t{PAIRS.format(number % 3)}\thats\n" for number in range(60))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    demo.main([str(folder), "--items", "50", "--seed", "1"])
    (folder / "images" / "P00001.jpg").write_bytes(b"broken")
    with (folder / "items.jsonl").open("a") as file:
        file.write('{"id": ""}\n')
    return folder


@pytest.fixture
def hats(tmp_path: Path) -> Path:
    (tmp_path / "hats.tsv").write_text(TAOBAO)
    return tmp_path / "hats.tsv"


def _numbers(table: str) -> dict[str, int]:
    """The first of each name."""
    found: dict[str, int] = {}
    for line in table.splitlines():
        if match := re.fullmatch(r"\s*(.+?)\s+([\d,]+)", line):
            found.setdefault(match[1], int(match[2].replace(",", "")))
    return found


def test_a_catalogue_goes_in_and_its_bad_rows_lie_beside_it(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location = tmp_path / "deep" / "store.lbdb"
    location.parent.mkdir()
    assert ingest.main(["demo", str(shop), "--store", str(location)]) == 0
    printed = capsys.readouterr().out
    numbers = _numbers(printed)
    lines = sum(len(file.read_text().splitlines()) for file in (*shop.glob("*.tsv"), shop / "items.jsonl"))
    assert numbers["rows read"] == lines
    assert numbers["loaded"] == lines - 1
    assert (numbers["set aside"], numbers["repeated"], numbers["parts of rows set aside"]) == (1, 0, 1)
    assert numbers["items"] == 50
    assert numbers["data version"] == 1
    assert f"set aside: {location.parent / 'quarantine.tsv'}" in printed
    assert (location.parent / "quarantine.tsv").read_text() == (
        "file\tline\treason\n"
        "items.jsonl\t2\titem P00001 went in without its image: it is in no image format that is known\n"
        "items.jsonl\t51\texpected an item id, got ''\n"
    )
    with graphstore.open(location) as store:
        counts = store.counts()
        assert counts.items == 50
        assert counts.images == numbers["with photograph"]
        assert counts.triples == numbers["triples"]
        assert counts.splits == {name: numbers[name] for name in ("test", "valid", "cold")}
        assert set(store.property_groups().values()) == {"title", "graph", "picture"}
        keys = [key for key in store.items(("image",))["image"].to_pylist() if key]
        pictures = {file.read_bytes() for file in (shop / "images").iterdir()} - {b"broken"}
        assert {store.images.get(key) for key in keys} == pictures


def test_the_same_again_changes_nothing(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = tmp_path / "store.lbdb"
    arguments = ["demo", str(shop), "--store", str(location)]
    ingest.main(arguments)
    first = _numbers(capsys.readouterr().out)
    beside = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != location}
    ingest.main(arguments)
    second = _numbers(capsys.readouterr().out)
    assert (first["new"], second["new"], second["changed"], second["data version"]) == (50, 0, 0, 1)
    beside.pop(tmp_path / "store.lbdb.lock", None)  # names the process that holds it
    assert all(file.read_bytes() == content for file, content in beside.items())


def test_holdout(hats: Path, tmp_path: Path) -> None:
    location = str(tmp_path / "store.lbdb")
    ingest.main(["taobao", str(hats), "--store", location, "--holdout", "0.4", "--seed", "2", "--base", "brand", "fit"])
    with graphstore.open(location) as store:
        splits = store.counts().splits
        triples = store.triples((None, "valid", "test", "cold")).to_pandas()
    assert splits.keys() == {"valid", "test", "cold"}
    assert len(triples) == 180
    assert set(triples[triples["split"] == "cold"]["property"]) == {"size"}


def test_limit(hats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = str(tmp_path / "store.lbdb")
    ingest.main(["taobao", str(hats), "--store", location, "--limit", "7"])
    numbers = _numbers(capsys.readouterr().out)
    assert (numbers["rows read"], numbers["loaded"], numbers["over the limit"]) == (60, 7, 53)
    with graphstore.open(location) as store:
        assert (store.num_items, store.num_training_triples) == (7, 21)
        assert store.item_ids(range(7)).tolist() == list("0123456")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--holdout", "0.2"], "--holdout: .* brings its own splits; leave it out"),
        (["--base", "brand"], "--base says what cold items keep: it needs --holdout"),
        (["--limit", "0"], r"--limit must be at least 1 \(got 0\)"),
    ],
)
def test_arguments_that_do_not_fit(shop: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ingest.main(["demo", str(shop), "--store", str(tmp_path / "store.lbdb"), *arguments])


def test_no_catalogue_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"items.jsonl is missing"):
        ingest.main(["demo", str(tmp_path / "nowhere"), "--store", str(tmp_path / "store.lbdb")])


def test_neo4j(hats: Path, tmp_path: Path, neo4j_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with hats.open("a") as file:
        file.write("too\tfew\n")
    for _ in range(2):
        ingest.main(["taobao", str(hats), "--store", neo4j_url])
    with graphstore.open(neo4j_url) as store:
        assert (store.num_items, store.num_training_triples, store.data_version) == (60, 180, 1)
    (quarantine,) = (tmp_path / "k3m-data").glob("*/quarantine.tsv")
    assert quarantine.read_text() == (
        "file\tline\treason\nhats.tsv\t61\texpected 5 columns (id, title, image URL, pairs, category), got 2\n"
    )


def test_prune(hats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["taobao", str(hats), "--store", str(tmp_path / "store.lbdb"), "--prune"]
    ingest.main(arguments)
    hats.write_text("".join(TAOBAO.splitlines(keepends=True)[:50]).replace("#;#fit#:#slim", "", 1))
    capsys.readouterr()
    ingest.main(arguments)
    printed = capsys.readouterr().out
    assert re.findall(r"  removed +(\d+)\n", printed) == ["10", "31"]
    assert _numbers(printed)["data version"] == 2
    with graphstore.open(tmp_path / "store.lbdb") as store:
        assert (store.num_items, store.num_training_triples) == (50, 149)


def test_prune_removes_nothing_that_a_row_set_aside_could_be_about(hats: Path, tmp_path: Path) -> None:
    location = tmp_path / "store.lbdb"
    ingest.main(["taobao", str(hats), "--store", str(location)])
    hats.write_text(TAOBAO.replace("7\titem 7\t", "7\titem 7"))  # a cell too few
    with pytest.raises(
        ValueError, match=r"would remove what the rows set aside are about \(1; see .*/quarantine.tsv\)"
    ):
        ingest.main(["taobao", str(hats), "--store", str(location), "--prune"])
    assert len((tmp_path / "quarantine.tsv").read_text().splitlines()) == 2
    with graphstore.open(location) as store:
        assert store.num_items == 60
    with pytest.raises(ValueError, match="--prune takes the files for the whole catalogue, --limit reads a part"):
        ingest.main(["taobao", str(hats), "--store", str(location), "--prune", "--limit", "3"])


def test_import_files(
    hats: Path, tmp_path: Path, neo4j_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["taobao", str(hats), "--store", neo4j_url, "--neo4j-import", "files"]
    refused = "holds 1 nodes, and an offline import would overwrite them: ingest"
    with pytest.raises(graphstore.StoreError, match=refused):  # the mark of the tests
        ingest.main(command)
    with server.session(neo4j_url, os.environ[server.PASSWORD]) as database:
        database.run("MATCH (n) DELETE n").consume()
        try:
            ingest.main(command)
            assert database.run("MATCH (n) RETURN count(n)").value() == [0]
        finally:
            database.run("CREATE (:K3MTest)").consume()
    files = tmp_path / "files"
    printed = capsys.readouterr().out
    assert f"in {files}:\n  neo4j-admin database import full @import.args\n" in printed
    assert _numbers(printed)["triples"] == 180
    assert (files / "Item-header.csv").read_text() == (
        ":ID(Item),id:string,title:string,category:string,image_url:string,image:string,ord:long,first:long\n"
    )
    assert (files / "Item.csv").read_text().splitlines()[1] == '1,"1","item 1","hats",,,1,3'
    assert (files / "HAS.csv").read_text().splitlines()[:2] == ['0,1,"brand","taobao",,', '0,4,"fit","taobao",,']
    with pytest.raises(graphstore.StoreError, match="holds 1 nodes"):
        ingest.main(command)


def test_import_files_are_for_neo4j(hats: Path, tmp_path: Path) -> None:
    location = str(tmp_path / "store.lbdb")
    with pytest.raises(graphstore.StoreError, match="is no Neo4j database: ingest into it without import files"):
        ingest.main(["taobao", str(hats), "--store", location, "--neo4j-import", str(tmp_path / "files")])
