"""A run's metrics: metrics.jsonl, a line a logged step, and the same as curves where TensorBoard is installed."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any


class Metrics:
    """Of the run in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / "metrics.jsonl"

    def lines(self) -> list[dict[str, float]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def validated(self) -> list[dict[str, float]]:
        """Lines of the validations that compare with each other, the kept weights' among them: those since the last
        ingest that the run followed (a line `ingest`)."""
        found: list[dict[str, float]] = []
        for line in self.lines():
            if "ingest" in line:
                found.clear()
            if "valid_mrr" in line:
                found.append(line)
        return found

    def cut_after(self, step: int) -> None:
        """Lines past a checkpoint go: their steps are taken again."""
        kept = [line for line in self.lines() if line["step"] <= step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def log(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": epoch} | dict(values)) + "\n")
        for name, value in values.items() if self._curves else ():
            self._curves.add_scalar(name, value, step)

    @cached_property
    def _curves(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(str(self.directory / "tensorboard"))
