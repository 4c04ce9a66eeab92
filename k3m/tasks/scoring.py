"""What every tuned model is to its caller, whatever it is made of: scores of examples, read from any source.

Legend: n examples, C classes, A answers.
"""

from pathlib import Path
from typing import Protocol

from jaxtyping import Float
from numpy import ndarray

from graphstore import Store
from k3m.tasks.data import Examples, Task
from k3m.tasks.folder import TaskInfo


class NotRun(ValueError):
    """A model that cannot be had here; the message is what a table says: "not run: ..."."""


class Tuned(Protocol):
    """A model tuned for a task: K3M or a baseline."""

    threshold: float
    """align: the score from which a pair is one product; chosen on validation."""
    template: str | None
    """answer: a question's wording, {} for the property; None: drawn among those of training."""
    history: list[dict[str, float]]
    """Of the training, a line a validation."""

    @property
    def info(self) -> TaskInfo:
        """What it keeps of its task."""
        ...

    @property
    def visible(self) -> tuple[str, ...]:
        """Item fields that it reads, beyond title and image."""
        ...

    @property
    def task(self) -> Task: ...

    @property
    def name(self) -> str:
        """k3m, or the baseline's."""
        ...

    def scores(self, examples: Examples, source: Store) -> Float[ndarray, "n ..."]:
        """classify: [n, C] log-odds; align: [n] log-odds; answer: [n, A] in the order of the task's answers.

        Args:
            source: where titles, photographs and triples are read from: the store, or a view of it.
        """
        ...

    def save(self, directory: Path) -> None: ...
