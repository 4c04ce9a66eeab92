import re
from pathlib import Path

import pytest

import graphstore
from loaders import demo, ingest
from loaders.catalogue import CatalogueError

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
