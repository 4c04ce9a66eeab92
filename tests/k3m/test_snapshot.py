from pathlib import Path

import pytest

import graphstore
from k3m import snapshot
from tests.catalogues import tiny_catalogue


def test_the_command_writes_what_open_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = tiny_catalogue(12)
    location, directory = str(tmp_path / "store.lbdb"), tmp_path / "snapshot"
    with graphstore.open(location, "w") as store:
        for data in tables.images.values():
            store.images.add(data)
        store.ingest(tables.items, tables.triples)
    snapshot.main([location, str(directory)])
    training = int(tables.triples["split"].isna().sum())
    assert capsys.readouterr().out == f"{directory}: 12 items, {training} training triples, data version 1\n"
    with graphstore.open(location) as origin, graphstore.open(str(directory), beside=origin) as copy:
        assert (copy.num_items, copy.num_training_triples, copy.data_version) == (12, training, 1)
