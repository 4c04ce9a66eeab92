"""Who has a store: a file's readers and writer, by a lock that ends with the process; a server's ingest, by a mark."""

import fcntl
import json
import os
import socket
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from graphstore.errors import StoreLocked


class FileLock:
    """Shared or exclusive, for as long as it is open. The file has a line for each time that a process took it, and one
    with a minus for each time that it gave it back."""

    def __init__(self, path: Path, exclusive: bool) -> None:
        self.file: TextIO = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self.file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            holders = _holders(self.file.read().split())
            self.file.close()
            raise StoreLocked(
                f"{path.with_suffix('')} is in use by process {', '.join(holders) or 'unknown'}: "
                + ("writing needs it alone" if exclusive else "it is being written to")
            ) from None
        if exclusive:
            self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()

    def release(self) -> None:
        self.file.write(f"-{os.getpid()}\n")
        self.file.close()


def _holders(lines: list[str]) -> list[str]:
    """Processes with more lines than they took back, less those that were killed."""
    taken = Counter(line for line in lines if not line.startswith("-"))
    taken.subtract(line[1:] for line in lines if line.startswith("-"))
    return [process for process, times in taken.items() if times > 0 and runs(int(process))]


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


@dataclass(frozen=True)
class Mark:
    """A process that ingests into a server's database."""

    host: str
    process: int
    since: str

    @classmethod
    def mine(cls) -> Self:
        return cls(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def read(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def require_ended(self, location: str) -> None:
        """Raises StoreLocked for a process that runs, or that another machine would have to be asked about."""
        if self.host != socket.gethostname() or runs(self.process):
            raise StoreLocked(
                f"{location}: process {self.process} on {self.host} began an ingest at {self.since} and has not ended "
                "it; if it was stopped, ingest with --take-over (take_over=True)"
            )
