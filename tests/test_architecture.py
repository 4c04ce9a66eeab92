"""What the design says of the source as a whole: who imports whom, what lies where, what stands nowhere."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from k3m.cli import COMMANDS

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "graphstore": {"graphstore"},
    "loaders": {"loaders", "graphstore"},
    "k3m": {"k3m", "graphstore"},
    "analysis": {"analysis", "k3m", "graphstore"},
}
FOLDERS = {*MAY_IMPORT, "tests", "benchmarks", "docs", "tools", ".ci"}
SOURCES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
# In pieces, so that this file does not hold what it looks for: hosts of package indexes, a developer's own paths.
FORBIDDEN = ["".join(pieces) for pieces in (("py", "pi.org"), ("python", "hosted"), ("/wo", "rk/"), ("/ho", "me/"))]


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if node.level == 0 else path.relative_to(ROOT).parts[0]


def test_every_package_was_read() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_way_of_the_data(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = set(imported(path)) & {*MAY_IMPORT, "tests", "benchmarks", "tools"}
    assert ours <= MAY_IMPORT[package], f"{package} may not import {ours - MAY_IMPORT[package]}"


def test_only_the_console_command_names_the_outer_packages() -> None:
    importers = [path for path in SOURCES if "import_module" in path.read_text(encoding="utf-8")]
    assert importers == [ROOT / "k3m" / "cli.py"]
    assert {module.partition(".")[0] for module, _ in COMMANDS.values()} <= set(MAY_IMPORT)


def test_nothing_imports_the_console_command() -> None:
    assert [path for path in SOURCES if "k3m.cli" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("database", ["neo4j", "ladybug"])
def test_each_database_is_imported_in_one_module(database: str) -> None:
    importers = [str(path.relative_to(ROOT)) for path in SOURCES if database in set(imported(path))]
    assert importers == [f"graphstore/{database}_store.py"]


def test_shape_annotations_are_evaluated() -> None:
    postponed = [path for path in SOURCES if {"jaxtyping", "__future__"} <= set(imported(path))]
    assert postponed == []


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [path for path in tracked() if path.stem in {"utils", "util", "helpers", "misc", "common"}] == []


def test_folders_are_those_of_the_design() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert found <= FOLDERS


def test_tests_lie_where_their_source_lies() -> None:
    mirrored = {*MAY_IMPORT, "tools", "contracts", "parity", "integration"}
    found = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("*/test_*.py")}
    assert found <= mirrored


def test_no_machine_or_package_index_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        for word in FORBIDDEN
        if word.encode() in path.read_bytes()
    ]
    assert found == []
