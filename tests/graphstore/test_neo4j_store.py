"""Connections to a server: what is refused, and that the password is never shown."""

import multiprocessing
import os
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import neo4j
import pandas as pd
import pytest
from neo4j.exceptions import Neo4jError, ResultFailedError

import graphstore
from graphstore import ConnectionFailed, StoreError, StoreLocked, StoreNotFound, TransactionTooLarge
from graphstore.neo4j_store import PASSWORD, Neo4jStore
from tests.catalogues import tiny_catalogue
from tests.stores import ingested

SECRET = "s3cret-never-shown"


def refusal(url: str) -> StoreError:
    """Opening `url` is refused, and nothing that could be printed of it holds the password."""
    with pytest.raises(StoreError) as refused:
        graphstore.open(url)
    shown = "".join(traceback.format_exception(refused.value))
    assert SECRET not in shown
    return refused.value


@pytest.mark.parametrize(
    "url",
    [
        f"neo4j://ann:{SECRET}@localhost:7687/neo4j",
        f"bolt://ann:{SECRET}@localhost",
        f"neo4j+s://:{SECRET}@localhost/shop",
        f"neo4j://ann:{SECRET}/@localhost:7687/neo4j",
    ],
)
def test_a_password_in_the_url_is_refused(url: str) -> None:
    error = refusal(url)
    assert isinstance(error, ConnectionFailed)
    assert PASSWORD in str(error)


def test_no_server_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"neo4j://ann@127.0.0.1:{unused.getsockname()[1]}/shop"
        error = refusal(url)
    assert isinstance(error, ConnectionFailed)
    assert str(error).startswith(f"{url}: ")
    assert str(error).endswith("(user ann; password from K3M_NEO4J_PASSWORD)")


def test_no_such_scheme() -> None:
    assert "gopher" in str(refusal("gopher://localhost/neo4j"))


def test_the_wrong_password(neo4j_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    error = refusal(neo4j_url.replace("neo4j@", "stranger@"))
    assert isinstance(error, ConnectionFailed)
    assert "unauthorized" in str(error)
    assert "(user stranger; password from K3M_NEO4J_PASSWORD)" in str(error)


def test_no_such_database(neo4j_url: str) -> None:
    error = refusal(neo4j_url.rpartition("/")[0] + "/nowhere")
    assert isinstance(error, StoreNotFound)
    assert "nowhere" in str(error)


def test_a_handle_shows_no_password(neo4j_url: str) -> None:
    with graphstore.open(neo4j_url) as store:
        password = os.environ[PASSWORD]
        assert password not in repr(store) + repr(vars(store)) + repr(store.__reduce__())


def test_a_handle_from_before_a_fork_opens_its_own_driver(neo4j_url: str) -> None:
    with ingested(neo4j_url, tiny_catalogue(8)) as store:
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=lambda: answers.put(store.neighbours([1]).edge_id.tolist()))
        child.start()
        assert answers.get(timeout=60) == store.neighbours([1]).edge_id.tolist()
        child.join(60)
        assert child.exitcode == 0
        assert store.num_items == 8


def test_a_handle_from_before_anothers_ingest_answers_no_more(neo4j_url: str) -> None:
    """Its ordinals of properties are of one version, those of the values would be of the next."""
    tables = tiny_catalogue(8)
    with ingested(neo4j_url, tables) as store, graphstore.open(neo4j_url, "w") as other:
        assert store.neighbours([1]).edge_id[0] == 0
        triples = pd.DataFrame({"item": ["item-1"], "property": ["age"], "value": ["0"]})
        assert other.ingest(tables.items[:0], triples).data_version == 2
        for read in (lambda: store.neighbours([1]), store.triples):
            with pytest.raises(StoreError, match="was changed by another ingest meanwhile: open the store again"):
                read()
        assert other.neighbours([1]).property[0] == 0 == other.property_names().index("age")
        with graphstore.open(neo4j_url) as again:
            assert again.neighbours([1]).value.tolist() == other.neighbours([1]).value.tolist()


def test_values_that_a_query_made_are_numbered_by_the_next_ingest(neo4j_url: str) -> None:
    tables = tiny_catalogue(8)
    ingested(neo4j_url, tables).close()
    with graphstore.open(neo4j_url, "w") as store:
        store.query(
            "MATCH (i:Item {id: 'item-1'}) MERGE (v:Value {text: $text}) CREATE (i)-[:HAS {property: 'tag'}]->(v)",
            text="by hand",
        )
        with pytest.raises(StoreError, match=r"a value has no ordinal.*ingest again"):
            store.neighbours([1])
        assert store.ingest(tables.items[:0], tables.triples[:0]).data_version == 2
        assert "by hand" in store.value_texts(store.neighbours([1]).value)
        edges = store.neighbours(range(8)).edge_id
        assert edges.tolist() == list(range(store.num_training_triples))


def test_transactions_that_wait_for_each_other_both_succeed(neo4j_url: str) -> None:
    """The server ends one of them, which is tried again."""
    both_have_one, tries = threading.Barrier(2, timeout=30), []

    def write(store: Neo4jStore, first: str, second: str) -> None:
        mine: list[str] = []

        def work(transaction: neo4j.Transaction) -> None:
            mine.append(first)
            transaction.run("MATCH (m:Metadata {key: $key}) SET m.value = m.value + 'x'", key=first).consume()
            if len(mine) == 1:
                both_have_one.wait()
            transaction.run("MATCH (m:Metadata {key: $key}) SET m.value = m.value + 'x'", key=second).consume()

        store._transact(work)
        tries.append(len(mine))

    with Neo4jStore(neo4j_url, "w") as store, ThreadPoolExecutor(2) as threads:
        store.query("UNWIND ['left', 'right'] AS key CREATE (:Metadata {key: key, value: ''})")
        list(threads.map(write, [store] * 2, ["left", "right"], ["right", "left"]))
        values = store.query("MATCH (m:Metadata) WHERE m.key IN ['left', 'right'] RETURN m.value AS value")
    assert values["value"].tolist() == ["xx", "xx"]
    assert sorted(tries) == [1, 2]


def test_the_error_of_a_transaction_is_named_though_closing_it_fails_too(neo4j_url: str) -> None:
    """Seen where a busy server did not answer the driver's reset after the error."""

    def work(_: neo4j.Transaction) -> None:
        too_large = Neo4jError._hydrate_neo4j(code="Neo.TransientError.General.MemoryPoolOutOfMemoryError")
        raise ResultFailedError(None, "a result has failed") from too_large

    with Neo4jStore(neo4j_url, "w") as store, pytest.raises(TransactionTooLarge):
        store._transact(work)


def test_of_ingests_that_begin_together_one_goes_first(neo4j_url: str) -> None:
    tables, start = tiny_catalogue(8), threading.Barrier(4, timeout=60)

    def ingest(_: int) -> int:
        with graphstore.open(neo4j_url, "w") as store:
            start.wait()
            with suppress(StoreLocked):
                return store.ingest(tables.items, tables.triples).items_new
            return 0

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(ingest, range(4))) == [0, 0, 0, 8]
    with graphstore.open(neo4j_url) as store:
        assert (store.counts().triples, store.num_items, store.data_version) == (len(tables.triples), 8, 1)
