"""Every floor by its name, and outside predictors by their file: what stands beside K3M in a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from analysis.cnn import Cnn
from analysis.cnn import Settings as CnnSettings
from analysis.external import External
from analysis.floors import FLOORS
from analysis.nearest import Nearest
from analysis.pool import Pool
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import Predictor

Name = Literal["majority", "tabular", "visual", "nearest", "cnn", "pool"]

_TAKEN = ("k3m", "item", "property", "value", "split")
"""Columns of a table of ranks."""


def predictors(
    names: Sequence[str],
    store: Store,
    candidates: Candidates,
    *,
    cache: Path | None = None,
    external: Sequence[Path] = (),
    cnn: CnnSettings | None = None,
) -> dict[str, Predictor]:
    """The floors `names`, then the files of `external` under their names less the suffix.

    Args:
        cache: folder where what is slow to fit (the network) is kept, and found again by what it was fitted on; None
            keeps nothing.

    Raises:
        ValueError: for two of one name, or a file that cannot be taken (`analysis.external`).
    """
    made: dict[str, Predictor] = {}

    def part(name: str) -> Predictor:
        """Each once: the pool is made of two that may be asked for too."""
        if name not in made:
            made[name] = _made(
                name, store, candidates, part, lambda: Cnn(store, candidates, cnn or CnnSettings(), cache)
            )
        return made[name]

    found = {name: part(name) for name in names}
    for path in external:
        if path.stem in found or path.stem in _TAKEN:
            raise ValueError(f"--external {path}: the name {path.stem} is taken; rename the file")
        found[path.stem] = External.load(path, store, candidates)
    return found


def _made(
    name: str,
    store: Store,
    candidates: Candidates,
    part: Callable[[str], Predictor],
    network: Callable[[], Predictor],
) -> Predictor:
    if name in FLOORS:
        return FLOORS[name](store, candidates)
    if name == "nearest":
        return Nearest(store, candidates)
    if name == "cnn":
        return network()
    if name == "pool":
        return Pool(store, candidates, part("tabular"), part("cnn"))
    raise ValueError(f"expected one of {', '.join(get_args(Name))}, got {name!r}")
