"""Fixtures for what lies outside the process: a Neo4j server, a browser, the real catalogues.

Each is skipped by name where it is absent; K3M_REQUIRE_NEO4J=1 and K3M_REQUIRE_BROWSER=1 make the absence a failure.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from graphstore.ladybug_store import SharedDatabase
from tools.neo4j import server

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.hookimpl(tryfirst=True)  # before -m deselects and before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the users of `neo4j_url`, and keep all of them in one xdist worker: they share one database."""
    for item in items:
        if "neo4j_url" in getattr(item, "fixturenames", ()):
            item.add_marker("neo4j")
        if item.get_closest_marker("neo4j"):
            item.add_marker(pytest.mark.xdist_group("neo4j"))


def skip_or_fail(reason: str, required_by: str) -> NoReturn:
    if os.environ.get(required_by) == "1":
        pytest.fail(f"{reason} ({required_by}=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_ladybug_file_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each open one has 8 TB of address space, of which a process has 128."""
    before = set(SharedDatabase._open)
    yield
    left = [path for pid, path in SharedDatabase._open.keys() - before if pid == os.getpid()]
    own = [path for path in left if request.node.name[:10] in str(path)]  # not those of a module's fixture
    assert not own, f"the test left open: {', '.join(map(str, own))}"


@pytest.fixture
def neo4j_url() -> str:
    """The URL of a database that holds nothing but the (:K3MTest) mark; its password is in K3M_NEO4J_PASSWORD.

    A database with data that the tests did not make is refused (`server.claim`).
    """
    url = os.environ.get(server.URI)
    if not url:
        missing = os.environ.get(
            "K3M_NO_NEO4J", f"no Neo4j server: {server.URI} is not set (tools/neo4j/server.py run)"
        )
        skip_or_fail(missing, "K3M_REQUIRE_NEO4J")
    password = os.environ.get(server.PASSWORD, "")
    server.claim(url, password)
    server.wipe(url, password)
    return url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of this machine; open pages with `browser.new_page()`."""
    chromium = shutil.which("chromium")
    if not chromium:
        skip_or_fail("no browser: chromium is not installed", "K3M_REQUIRE_BROWSER")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real catalogues (K3M_DATA, else ../shared/data)."""
    folder = Path(os.environ.get("K3M_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real catalogues: set K3M_DATA ({folder} is no folder)")
    return folder
