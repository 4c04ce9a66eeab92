from pathlib import Path

import numpy as np
import pytest

import graphstore
from graphstore import NoEmbedding, UnsupportedQuery
from k3m import similar
from tests.catalogues import tiny_catalogue
from tests.stores import ingested


@pytest.fixture
def location(tmp_path: Path) -> str:
    path = tmp_path / "store.lbdb"
    ingested(path, tiny_catalogue(8)).close()
    with graphstore.open(path, "w") as store:
        vectors = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        parts = [(["item-1", "item-2", "item-3"], vectors)]
        store.write_embeddings(parts, run="r", model="m", data_version=1)
    return str(path)


def test_the_nearest_are_printed(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert similar.main([location, "item-1", "-k", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "title", "similarity"]
    assert (lines[1].split()[0], lines[1].split()[-1]) == ("item-3", "0.707107")
    assert lines[2] == "(1 row)"
    similar.main([location, "item-1"])
    assert capsys.readouterr().out.endswith("(2 rows)\n")


def test_what_has_no_vector(location: str, tmp_path: Path) -> None:
    with pytest.raises(NoEmbedding, match="item 'item-0' has no vector"):
        similar.main([location, "item-0"])
    with graphstore.open(location) as store:
        graphstore.write_snapshot(store, tmp_path / "snapshot")
    with pytest.raises(UnsupportedQuery, match="holds no vectors"):
        similar.main([str(tmp_path / "snapshot"), "item-1"])
