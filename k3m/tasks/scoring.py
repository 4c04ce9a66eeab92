"""What every tuned model is to its caller, whatever it is made of: scores of examples, read from any source.

Legend: n examples, C classes, A answers.
"""

from pathlib import Path
from typing import Protocol

from jaxtyping import Float
from numpy import ndarray

from graphstore import Store
from k3m.tasks.data import Examples, Task


class NotRun(ValueError):
    """A model that cannot be had here; the message is what a table says: "not run: ..."."""


class Tuned(Protocol):
    """A model tuned for a task: K3M or a baseline.

    Attributes:
        name: k3m, or the baseline's.
        threshold: align: the score from which a pair is one product; chosen on validation.
    """

    task: Task
    name: str
    threshold: float

    def scores(self, examples: Examples, source: Store) -> Float[ndarray, "n *_"]:
        """classify: [n, C] log-odds; align: [n] log-odds; answer: [n, A] in the order of the task's answers.

        Args:
            source: where titles, photographs and triples are read from: the store, or a view of it.
        """
        ...

    def save(self, directory: Path) -> None: ...
