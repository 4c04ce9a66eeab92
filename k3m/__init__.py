"""K3M: knowledge-perceived multi-modal pretraining for product catalogues. `k3m.load(RUN)` opens a trained run."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k3m.run import Run


def load(directory: str | Path) -> "Run":
    """The trained run in this folder; see `k3m.run.load_run`."""
    from k3m.run import load_run  # here, so that `k3m --help` does not wait for torch

    return load_run(directory)
