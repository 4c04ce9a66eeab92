"""Where a store's things lie."""

from pathlib import Path

import pytest

import graphstore
from graphstore import ReadOnlyStore, StoreNotFound, image_key
from graphstore.neo4j_store import image_folder
from tests.catalogues import tiny_catalogue
from tests.stores import ingested


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("shop/store.lbdb", "shop"),
        ("snapshots/monday", "snapshots"),
        ("neo4j://ann@db.example.org:7687/shop", "k3m-data/db.example.org-shop"),
        ("bolt://localhost", "k3m-data/localhost-neo4j"),
    ],
)
def test_data_dir(location: str, folder: str) -> None:
    assert graphstore.data_dir(location) == Path(folder)


def test_images_of_a_server_lie_in_its_data_dir() -> None:
    assert image_folder("neo4j://ann@localhost/shop") == Path("k3m-data/localhost-shop/images")


def test_images_lie_beside_the_file_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(tmp_path / "store.lbdb", tiny_catalogue(8)).close()
    assert (tmp_path / "store.lbdb.images" / "images.pack").exists()
    monkeypatch.setenv("K3M_IMAGES", str(tmp_path / "elsewhere"))
    with graphstore.open(tmp_path / "store.lbdb", "w") as store:
        assert store.images.add(b"new") == image_key(b"new")
        assert list(store.images) == [image_key(b"new")]
    assert (tmp_path / "elsewhere" / "images.pack").read_bytes() == b"new"


def test_what_comes_back_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="no store there"):
        graphstore.open_existing(tmp_path / "store.lbdb")
    assert list(tmp_path.iterdir()) == []
    ingested(tmp_path / "store.lbdb", tiny_catalogue(8)).close()
    with graphstore.open_existing(tmp_path / "store.lbdb") as store:
        assert not store.read_only


def test_a_folder_that_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match=r"is a folder, but holds no snapshot \(snapshot.json is missing\)"):
        graphstore.open(tmp_path)
    with pytest.raises(ReadOnlyStore, match="is a folder: a store to write is a file or a server's URL"):
        graphstore.open(tmp_path, "w")
