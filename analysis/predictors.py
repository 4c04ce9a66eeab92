"""Every floor by its name, and outside predictors by their file: what stands beside K3M in a table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from analysis import floors
from analysis.external import External
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import Predictor

Name = Literal["majority", "tabular", "visual"]
FLOORS: Mapping[str, Callable[[Store, Candidates], Predictor]] = floors.FLOORS


def predictors(
    names: Sequence[str],
    store: Store,
    candidates: Candidates,
    *,
    cache: Path | None = None,
    external: Sequence[Path] = (),
) -> dict[str, Predictor]:
    """The floors `names`, then the files of `external` under their names less the suffix.

    Args:
        cache: folder where what is slow to fit is kept, and found again by what it was fitted on; None keeps nothing.

    Raises:
        ValueError: for two of one name, or a file that cannot be taken (`analysis.external`).
    """
    found: dict[str, Predictor] = {name: FLOORS[name](store, candidates) for name in names}
    for path in external:
        if path.stem in found:
            raise ValueError(f"--external {path}: there is a predictor named {path.stem} already; rename the file")
        found[path.stem] = External.load(path, store, candidates)
    return found
