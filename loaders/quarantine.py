"""Rows that cannot go in, kept with their file, line and reason: nothing is dropped silently and nothing is lost."""

from dataclasses import dataclass, field
from pathlib import Path

NAME = "quarantine.tsv"
HEADER = "file\tline\treason"


@dataclass
class Quarantine:
    """The set-aside rows of one ingest. `partial` counts lines about a part of a row (its image,
    say), the rest of which went in."""

    rows: list[str] = field(default_factory=list)
    partial: int = 0

    @property
    def set_aside(self) -> int:
        """Rows that did not go in at all."""
        return len(self.rows) - self.partial

    def row(self, file: Path, line: int, reason: str) -> None:
        """The row on this line (from 1) did not go in."""
        self.rows.append("\t".join((file.name, str(line), " ".join(reason.split()))))

    def part(self, file: Path, line: int, reason: str) -> None:
        """The row went in, but for a part of it."""
        self.row(file, line, reason)
        self.partial += 1

    def write(self, path: Path) -> None:
        """Add these rows to the file, each once however often the same input is ingested."""
        there = path.read_text(encoding="utf-8").splitlines() if path.exists() else [HEADER]
        known = set(there)
        new = [row for row in self.rows if row not in known]
        if new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*there, *new]) + "\n", encoding="utf-8")
