"""tools/neo4j/server.py: what can be said without a server, and what the databases of tests must not lose."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.neo4j import server

SERVER = Path(server.__file__)


def as_user(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("K3M_")}
    return subprocess.run(
        [sys.executable, str(SERVER), *words], env=clean | environment, capture_output=True, text=True, timeout=60
    )


def test_options_of_the_command_are_not_taken_for_ours() -> None:
    assert server.split_at_dashes(["run", "--kept", "--", "pytest", "--home", "--"]) == (
        ["run", "--kept"],
        ["pytest", "--home", "--"],
    )


@pytest.mark.parametrize("words", [["run"], ["run", "--"], ["status", "--", "true"]])
def test_only_run_takes_a_command(words: list[str]) -> None:
    done = as_user(*words)
    assert done.returncode == 2
    assert "run takes a COMMAND after --, the others none" in done.stderr


def test_a_home_without_a_server_is_not_running(tmp_path: Path) -> None:
    done = as_user("status", "--home", str(tmp_path))
    assert (done.returncode, done.stderr) == (3, "neo4j: not running\n")


def test_kept_names_the_command_that_starts_one(tmp_path: Path) -> None:
    done = as_user("run", "--kept", "--home", str(tmp_path), "--", "true")
    assert done.returncode == 2
    assert f"no server is kept in {tmp_path}; start one with `make neo4j`" in done.stderr


def test_without_java_or_docker_the_command_runs_and_learns_why() -> None:
    done = as_user("run", "--", sys.executable, "-c", "import os; print(os.environ['K3M_NO_NEO4J'])", PATH="")
    assert done.returncode == 0
    assert "there is no java and no mvn" in done.stdout


def test_without_java_or_docker_a_required_server_fails() -> None:
    done = as_user("run", "--", sys.executable, "-c", "print('ran')", PATH="", K3M_REQUIRE_NEO4J="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no java and no mvn" in done.stderr


def test_the_state_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    kept = server.Server("maven", "neo4j://neo4j@127.0.0.1:1/neo4j", "secret", "")
    server.save(kept, tmp_path)
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    assert server.load(tmp_path) == kept


def test_a_process_that_took_over_the_id_is_not_ours_to_stop(tmp_path: Path) -> None:
    orphan = subprocess.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
    stranger = int(orphan.stdout)
    server.stop(server.Server("maven", "neo4j://neo4j@127.0.0.1:1/neo4j", "secret", str(stranger)), tmp_path)
    time.sleep(0.2)
    os.kill(stranger, signal.SIGTERM)  # ProcessLookupError if it had been stopped


def test_a_child_counts_as_running_from_its_first_moment_until_its_last(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    kept = server.Server("maven", "neo4j://neo4j@127.0.0.1:1/neo4j", "secret", str(child.pid))
    assert server.runs(kept, tmp_path)  # whatever its command line says before the exec
    server.stop(kept, tmp_path)
    assert not server.runs(kept, tmp_path)


def test_a_container_listens_on_loopback_and_gets_its_password_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"  # stands in for the program: writes down what it was given
    docker.write_text('#!/bin/sh\necho "$@" >"$0.words"\necho "$NEO4J_AUTH" >"$0.auth"\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert server.find_way() == "docker"
    assert server.launch("docker", tmp_path / "home", 7777, "hunter2") == "k3m-neo4j-7777"
    words = (tmp_path / "docker.words").read_text()
    assert "-p 127.0.0.1:7777:7687" in words
    assert f"-v {tmp_path / 'home' / 'data'}:/data neo4j:5.26-community" in words
    assert "hunter2" not in words
    assert (tmp_path / "docker.auth").read_text() == "neo4j/hunter2\n"


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(server.Refused, match="belongs in K3M_NEO4J_PASSWORD") as refusal:
        server.claim("neo4j://neo4j:hunter2@127.0.0.1:1/neo4j", "")
    assert "hunter2" not in str(refusal.value)


def test_the_fixture_gives_an_empty_database(neo4j_url: str) -> None:
    with server.session(neo4j_url, os.environ[server.PASSWORD]) as database:
        assert database.run("MATCH (n) RETURN labels(n)").value() == [["K3MTest"]]
        assert database.run("SHOW CONSTRAINTS YIELD name").value() == []


def test_wiping_takes_data_and_schema_and_leaves_the_mark(neo4j_url: str) -> None:
    password = os.environ[server.PASSWORD]
    with server.session(neo4j_url, password) as database:
        database.run("CREATE CONSTRAINT only FOR (i:Item) REQUIRE i.id IS UNIQUE").consume()
        database.run("CREATE INDEX by_title FOR (i:Item) ON (i.title)").consume()
        database.run("UNWIND range(1, 25000) AS k CREATE (:Item {id: k})-[:HAS]->(:Value)").consume()
    server.claim(neo4j_url, password)  # marked: taken again although it is full
    server.wipe(neo4j_url, password)
    with server.session(neo4j_url, password) as database:
        assert database.run("MATCH (n) RETURN labels(n)").value() == [["K3MTest"]]
        assert database.run("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name").value() == []


def test_data_that_the_tests_did_not_make_is_refused(neo4j_url: str) -> None:
    password = os.environ[server.PASSWORD]
    with server.session(neo4j_url, password) as database:
        database.run("MATCH (n:K3MTest) DELETE n CREATE (:Customer)").consume()
        try:
            with pytest.raises(server.Refused, match="holds 1 nodes that the tests did not make"):
                server.claim(neo4j_url, password)
        finally:
            database.run("MATCH (n:Customer) DELETE n").consume()


def test_a_wrong_password_says_so(neo4j_url: str) -> None:
    with pytest.raises(server.Refused, match=r"does not answer.*authentication failure"):
        server.claim(neo4j_url, "wrong")
