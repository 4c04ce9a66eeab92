"""A real Neo4j 5.26 community server for the tests and the demo.

    server.py run [--kept [--empty]] -- COMMAND...   COMMAND with a throw-away server, or the kept one (wiped first)
    server.py start|stop|status [--home DIR]         a server that is kept, its data under .neo4j/ or DIR
    server.py import FILES [--home DIR]              load what `k3m ingest --neo4j-import FILES` wrote into that one

COMMAND finds the server in K3M_TEST_NEO4J_URI (`neo4j://user@host:port/database`), its password in K3M_NEO4J_PASSWORD.
Three ways, the first that can be had: the server that K3M_TEST_NEO4J_URI already names; Docker, if an engine answers;
the jars of Maven Central with this machine's Java (pom.xml; kept in .neo4j/lib). A named server whose database holds
data that neither the tests nor the demo made is refused. Where none of the three is to be had, `run` says so and runs
COMMAND without a server (tests that need one are then skipped by name), or fails if K3M_REQUIRE_NEO4J=1.

K3M_NEO4J_GDS=1 gives a server from Maven Central the procedures of Graph Data Science (15 MB more), for `analysis.gds`.

Listens on the loopback interface alone. The password is random, stands on no command line, and is kept in a file of
mode 0600 alone.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import neo4j
from neo4j import NotificationMinimumSeverity
from neo4j.exceptions import DriverError, Neo4jError, ServiceUnavailable, SessionExpired, TransientError

TOOLS = Path(__file__).parent
KEPT = TOOLS.parents[1] / ".neo4j"
IMAGE = "neo4j:5.26-community"
HEAP, PAGE_CACHE = "1500m", "512m"
START_SECONDS, STOP_SECONDS = 180, 60
URI, PASSWORD = "K3M_TEST_NEO4J_URI", "K3M_NEO4J_PASSWORD"
GDS, GDS_VERSION = "K3M_NEO4J_GDS", "2.13.9"  # as in pom.xml
OPENED = ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent")


class NoServer(Exception):
    """None of the ways to a server is open here; the message says what each lacks."""


class Refused(Exception):
    """The server is there and must not, or cannot, be used."""


@dataclass
class Server:
    """What the state file keeps; `handle` is a process id (maven) or the container's name (docker), "" when stopped."""

    way: str
    url: str
    password: str
    handle: str


@contextmanager
def session(url: str, password: str) -> Iterator[neo4j.Session]:
    """A session on the database that `scheme://user@host:port/database` names (user and database default to neo4j)."""
    parts = urlsplit(url)
    if parts.password:
        raise Refused(f"the password of {parts.hostname} stands in the URL; it belongs in {PASSWORD}")
    host = parts.netloc.rpartition("@")[2]
    auth = (parts.username or "neo4j", password)
    quiet = NotificationMinimumSeverity.OFF  # an empty database warns about every label it has not seen
    with neo4j.GraphDatabase.driver(f"{parts.scheme}://{host}", auth=auth, notifications_min_severity=quiet) as driver:
        with driver.session(database=parts.path.strip("/") or "neo4j") as opened:
            yield opened


def claim(url: str, password: str) -> None:
    """Mark an empty database with a (:K3MTest) node, which says that its content is ours to delete.

    Raises:
        Refused: if the database holds nodes and no such mark, or does not answer.
    """
    try:
        with session(url, password) as database:
            [nodes] = database.run("MATCH (n) RETURN count(n)").value()
            [marks] = database.run("MATCH (n:K3MTest) RETURN count(n)").value()
            if nodes and not marks:
                raise Refused(f"{url} holds {nodes} nodes that the tests did not make; name an empty database in {URI}")
            if not marks:
                database.run("CREATE (:K3MTest)").consume()
    except (DriverError, Neo4jError) as error:
        raise Refused(f"{url} does not answer ({type(error).__name__}: {error})") from error


def wipe(url: str, password: str) -> None:
    """Delete all but the mark of `claim` from a claimed database: nodes in batches, constraints and indexes."""
    with session(url, password) as database:
        database.run(
            "MATCH (n) WHERE NOT n:K3MTest CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS"
        ).consume()
        for name in database.run("SHOW CONSTRAINTS YIELD name").value():
            database.run(f"DROP CONSTRAINT `{name}`").consume()
        for name in database.run("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name").value():
            database.run(f"DROP INDEX `{name}`").consume()


def answers(url: str, password: str) -> bool:
    """Whether Bolt answers a query; a wrong password is an error, not a "not yet"."""
    try:
        with session(url.replace("neo4j://", "bolt://"), password) as database:  # no routing table before it is up
            return database.run("RETURN 1").value() == [1]
    except (ServiceUnavailable, SessionExpired, TransientError):
        return False


def find_way() -> str:
    """ "docker" or "maven", the first that this machine has."""
    try:
        if (
            subprocess.run(["docker", "info"], capture_output=True, timeout=10, stdin=subprocess.DEVNULL).returncode
            == 0
        ):
            return "docker"
        docker = "no Docker engine answers"
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        docker = f"no Docker engine ({type(error).__name__})"
    missing = [program for program in ("java", "mvn") if not shutil.which(program)]
    if missing:
        raise NoServer(f"no Neo4j server: {URI} is not set, {docker}, and there is no {' and no '.join(missing)}")
    return "maven"


def launch(way: str, home: Path, port: int, password: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Start a server with its data in `home`; its handle. Does not wait until it answers. `more`: its settings."""
    home.mkdir(parents=True, exist_ok=True)
    return (launch_container if way == "docker" else launch_java)(home, port, password, more)


def launch_container(home: Path, port: int, password: str, more: Mapping[str, str]) -> str:
    name = f"k3m-neo4j-{port}"
    (home / "data").mkdir(exist_ok=True)
    settings = {
        "NEO4J_AUTH": f"neo4j/{password}",
        "NEO4J_server_bolt_advertised__address": f"127.0.0.1:{port}",
        "NEO4J_server_memory_heap_max__size": HEAP,
        "NEO4J_server_memory_pagecache_size": PAGE_CACHE,
        "NEO4J_dbms_usage__report_enabled": "false",
    } | {f"NEO4J_{name.replace('_', '__').replace('.', '_')}": value for name, value in more.items()}
    names = [word for setting in settings for word in ("-e", setting)]  # names alone: the values come by environment
    command = ["docker", "run", "-d", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:7687", *names]
    command += ["--user", f"{os.getuid()}:{os.getgid()}", "-v", f"{home / 'data'}:/data", IMAGE]
    subprocess.run(command, check=True, env=os.environ | settings, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return name


def launch_java(home: Path, port: int, password: str, more: Mapping[str, str]) -> str:
    (home / "conf").mkdir(exist_ok=True)
    if os.environ.get(GDS) == "1":
        more = {**more, "dbms.security.procedures.unrestricted": "gds.*"}
        link_plugins(home)
    (home / "conf" / "neo4j.conf").write_text(
        f"server.bolt.listen_address=127.0.0.1:{port}\n"
        f"server.bolt.advertised_address=127.0.0.1:{port}\n"
        "server.http.enabled=false\n"
        "dbms.usage_report.enabled=false\n"
        f"server.memory.pagecache.size={PAGE_CACHE}\n" + "".join(f"{name}={value}\n" for name, value in more.items())
    )
    java = ["java", "-cp", f"{jars()}/*"]
    if not (home / "data" / "dbms" / "auth.ini").exists():
        set_first_password(java, home, password)
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
    command = [*java[:1], *opened, f"-Xmx{HEAP}", *java[1:], "org.neo4j.server.CommunityEntryPoint"]
    with (home / "console.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, f"--home-dir={home}", f"--config-dir={home / 'conf'}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches this program alone, which stops the server in order
        )
    return str(process.pid)


def set_first_password(java: Sequence[str], home: Path, password: str) -> None:
    """neo4j-admin reads it from a file (@FILE), so that it stands on no command line."""
    with tempfile.NamedTemporaryFile("w") as argument:  # made with mode 0600
        argument.write(password)
        argument.flush()
        admin = [*java, "org.neo4j.cli.AdminTool", "dbms", "set-initial-password", f"@{argument.name}"]
        subprocess.run(admin, check=True, env=os.environ | {"NEO4J_HOME": str(home)}, stdout=subprocess.DEVNULL)


def link_plugins(home: Path) -> None:
    """The server looks for procedures in `plugins`; the rest of Graph Data Science it finds on the class path."""
    (home / "plugins").mkdir(exist_ok=True)
    for jar in jars().glob(f"*-{GDS_VERSION}.jar"):
        if not (home / "plugins" / jar.name).exists():
            (home / "plugins" / jar.name).symlink_to(jar)


def jars() -> Path:
    """The server's jars, copied from Maven Central on first use (123 MB); in place whole or not at all."""
    with_gds = os.environ.get(GDS) == "1"
    library = KEPT / ("lib-gds" if with_gds else "lib")
    if not library.exists():
        say("fetching the server from Maven Central (123 MB, once)")
        KEPT.mkdir(exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=KEPT, prefix="lib-"))
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}", *(["-Pgds"] if with_gds else [])]
        subprocess.run(
            ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", TOOLS / "pom.xml", *goal],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        partial.rename(library)
    return library


def start(home: Path, server: Server | None = None, more: Mapping[str, str] = MappingProxyType({})) -> Server:
    """A running server with its data in `home`; `server`: an earlier start, whose password the data asks for, and whose
    port is kept; `more`: settings of neo4j.conf."""
    way, port = find_way(), free_port(urlsplit(server.url).port if server else None)
    password = server.password if server else secrets.token_hex(24)
    new = Server(way, f"neo4j://neo4j@127.0.0.1:{port}/neo4j", password, launch(way, home, port, password, more))
    try:
        wait_until_ready(new, home)
    except BaseException:  # an interrupt too: nothing is left running
        stop(new, home)
        raise
    return new


def wait_until_ready(server: Server, home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(server.url, server.password):
        if time.monotonic() > deadline or not runs(server, home):
            raise Refused(f"the server did not start ({START_SECONDS} s at most); its log ends:\n{log_tail(home)}")
        time.sleep(0.3)


def free_port(earlier: int | None) -> int:
    """The port of an earlier start, whose URL stands in run folders; any other where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what just stopped leaves it in TIME_WAIT
        with suppress(OSError):
            probe.bind(("127.0.0.1", earlier or 0))
            return probe.getsockname()[1]
    return free_port(None)


def log_tail(home: Path) -> str:
    log = home / "console.log"
    return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:]) if log.exists() else "(no log)"


def runs(server: Server, home: Path) -> bool:
    """Whether the process or container is alive, and is the one that was started (process ids are used again)."""
    if server.way == "docker":
        listing = ["docker", "ps", "-q", "--filter", f"name=^{server.handle}$"]
        return bool(server.handle and subprocess.run(listing, capture_output=True, text=True).stdout.strip())
    if not server.handle:
        return False
    try:  # our own child: its id is not used again before we ask, and a dead one would stay listed until then
        return os.waitpid(int(server.handle), os.WNOHANG) == (0, 0)
    except ChildProcessError:  # started by an earlier command, or collected
        return f"--home-dir={home}" in command_line(server.handle)


def command_line(process: str) -> str:
    """The arguments of a running process, "" if there is none; `ps` is missing on small machines that have /proc."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
        return ""
    return subprocess.run(["ps", "-ww", "-o", "args=", "-p", process], capture_output=True, text=True).stdout


def stop(server: Server, home: Path) -> None:
    """Stop it in order (SIGTERM) and wait until it has gone."""
    if not runs(server, home):
        return
    if server.way == "docker":
        subprocess.run(
            ["docker", "stop", "-t", str(STOP_SECONDS), server.handle], check=True, stdout=subprocess.DEVNULL
        )
        return
    os.kill(int(server.handle), signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while runs(server, home):
        if time.monotonic() > deadline:
            os.kill(int(server.handle), signal.SIGKILL)
            raise Refused(f"the server did not stop within {STOP_SECONDS} s and was killed")
        time.sleep(0.1)


def load(home: Path) -> Server | None:
    state = home / "server.json"
    return Server(**json.loads(state.read_text())) if state.exists() else None


def save(server: Server, home: Path) -> None:
    with open(os.open(home / "server.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as state:
        json.dump(asdict(server), state)


def import_kept(home: Path, files: Path) -> int:
    """Load import files into the empty database of the kept server; it runs again afterwards, whatever happened."""
    server = load(home)
    if not (server and runs(server, home)):
        raise Refused(f"no server is kept in {home}; start one with `make neo4j`")
    with session(server.url, server.password) as database:
        [nodes] = database.run("MATCH (n) RETURN count(n)").value()
    if nodes:
        raise Refused(f"{server.url} holds {nodes} nodes: an import is for an empty database")
    stop(server, home)
    try:
        load_files(server.way, home, files)
    finally:
        server = start(home, server)
        save(server, home)
    with session(server.url, server.password) as database:
        for statement in (files / "schema.cypher").read_text(encoding="utf-8").split(";\n")[:-1]:
            database.run(statement).consume()
        [nodes] = database.run("MATCH (n) RETURN count(n)").value()
    say(f"{nodes} nodes imported; running at {server.url}")
    return 0


def load_files(way: str, home: Path, files: Path) -> None:
    """What the import says goes to its log."""
    words = ["database", "import", "full", "@import.args"]
    if way == "docker":
        mounted = ["-v", f"{home / 'data'}:/data", "-v", f"{files}:/files", "-w", "/files"]
        user = f"{os.getuid()}:{os.getgid()}"
        command = ["docker", "run", "--rm", "--user", user, *mounted, IMAGE, "neo4j-admin", *words]
    else:
        command = ["java", f"-Xmx{HEAP}", "-cp", f"{jars()}/*", "org.neo4j.cli.AdminTool", *words]
    with (home / "import.log").open("wb") as log:
        subprocess.run(
            command, check=True, cwd=files, env=os.environ | {"NEO4J_HOME": str(home)}, stdout=log, stderr=log
        )


def start_kept(home: Path) -> int:
    if URI in os.environ:
        claim(os.environ[URI], os.environ.get(PASSWORD, ""))
        say(f"{os.environ[URI]} ({URI}) is used; nothing to start")
        return 0
    server = load(home)
    if not (server and runs(server, home)):
        server = start(home, server)
        save(server, home)
    say(f"running at {server.url} ({server.way}, data in {home}); password in {home / 'server.json'}")
    return 0


def stop_kept(home: Path) -> int:
    server = load(home)
    if server and runs(server, home):
        stop(server, home)
        server.handle = ""
        save(server, home)  # the password stays: the data folder goes on asking for it
        say("stopped")
    else:
        say("not running")
    return 0


def status(home: Path) -> int:
    server = load(home)
    running = server is not None and runs(server, home)
    say(f"running at {server.url} ({server.way})" if server and running else "not running")
    return 0 if running else 3


def run(command: Sequence[str], home: Path | None, empty: bool) -> int:
    """Run `command` with the named server, else the kept one in `home`, else a throw-away one; its exit status.

    `empty` wipes what an earlier command left, after the check that it is ours to delete.
    """
    environment = dict(os.environ)
    if URI in environment:
        environment.setdefault(PASSWORD, "")
    elif home:
        server = load(home)
        if not (server and runs(server, home)):
            raise Refused(f"no server is kept in {home}; start one with `make neo4j`")
        environment |= {URI: server.url, PASSWORD: server.password}
    else:
        with tempfile.TemporaryDirectory(prefix="k3m-neo4j-") as folder:
            return run_private(command, Path(folder))
    claim(environment[URI], environment[PASSWORD])
    if empty:
        wipe(environment[URI], environment[PASSWORD])
    return call(command, environment)


def run_private(command: Sequence[str], home: Path) -> int:
    try:
        server = start(home)
    except NoServer as reason:
        if os.environ.get("K3M_REQUIRE_NEO4J") == "1":
            raise
        say(f"{reason}; going on without")
        return call(command, os.environ | {"K3M_NO_NEO4J": str(reason)})
    try:
        say(f"running at {server.url} ({server.way}) for {command[0]}")
        return call(command, os.environ | {URI: server.url, PASSWORD: server.password})
    finally:
        stop(server, home)


def call(command: Sequence[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:
        try:
            return process.wait()
        except BaseException:  # a signal to us: hand it on, and let the caller stop the server
            process.terminate()
            raise


def say(text: str) -> None:
    print(f"neo4j: {text}", file=sys.stderr, flush=True)


def split_at_dashes(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands before the first `--` and what after it: argparse would take options of COMMAND for its own."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop", "status", "run", "import"])
    parser.add_argument("files", nargs="?", type=lambda path: Path(path).resolve(), help="import: their folder")
    parser.add_argument(
        "--home", type=lambda path: Path(path).resolve(), default=KEPT, help="data folder of the kept server"
    )
    parser.add_argument("--kept", action="store_true", help="run: use the server of `start`, not a throw-away one")
    parser.add_argument("--empty", action="store_true", help="run: wipe first what an earlier command left in it")
    own, command = split_at_dashes(sys.argv[1:] if argv is None else argv)
    asked = parser.parse_args(own)
    if bool(command) != (asked.action == "run"):
        parser.error("run takes a COMMAND after --, the others none")
    if bool(asked.files) != (asked.action == "import"):
        parser.error("import takes a folder of FILES, the others none")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops the server
    try:
        if asked.action == "run":
            return run(command, asked.home if asked.kept else None, asked.empty)
        if asked.action == "import":
            return import_kept(asked.home, asked.files)
        return {"start": start_kept, "stop": stop_kept, "status": status}[asked.action](asked.home)
    except (NoServer, Refused, subprocess.CalledProcessError) as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
