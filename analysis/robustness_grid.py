"""What a robustness study runs, as its file declares it (`analysis.robustness` has an example)."""

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from k3m.protocols import PROTOCOLS, Noise
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Task

Setting = Literal["train-clean", "train-corrupt"]
"""Test corrupted alone, or train, valid and test alike."""
Kind = Literal["ours", "with PKG", "without PKG", "text", "other"]
"""What a model is in the comparison with the paper; one at most is ours."""
CLEAN = "clean"
"""The protocol of ratio 0."""
PAPER = ("TMR", "IMR", "MMR", "TNR", "INR", "TINR", "MNR")
"""The paper's protocols."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A row of the tables."""

    name: str
    """In the tables."""
    model: str
    """That `k3m.tasks.models.tuned_by` knows."""
    run: Path | None = None
    """Of its pretraining; none: from scratch."""
    kind: Kind = "other"
    settings: tuple[str, ...] = ()
    """Of a baseline from scratch."""


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """Where a task's examples come from."""

    task: Task
    data: str = "auto"
    """A file (`k3m.finetune`), or auto: made from the store."""
    label: str = "category"
    """classify, auto: the field or property to tell."""
    tuning: TaskConfig
    """Of every training of the task."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of figures."""

    task: Task
    model: str
    setting: Setting
    protocol: str
    """As the tables have it: clean at ratio 0, and `MNR category` of donors of the same category."""
    ratio: float
    seed: int
    noise: Noise | None
    """None at ratio 0."""

    @property
    def name(self) -> str:
        """Of its files."""
        protocol = "-".join([_slug(self.protocol), f"{self.ratio:g}", str(self.seed)])
        return f"{self.task}/{_slug(self.model)}/{self.setting}-{protocol}"

    @property
    def tuned(self) -> str:
        """Name of the tuned model's folder: cells that test alone is corrupted in share one, and so do those without
        corruption."""
        corrupted = self.setting == "train-corrupt" and self.noise is not None
        return self.name if corrupted else f"{self.task}/{_slug(self.model)}/clean-{self.seed}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", " with ")).strip("-")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Read from a file."""

    tasks: dict[Task, TaskSource]
    models: dict[str, Model]
    cells: list[Cell]
    """Each once; those of one tuned model one after the other."""
    train_examples: int = 0
    """Of each task at most, drawn; 0: all. Likewise the next."""
    test_examples: int = 0

    @property
    def ours(self) -> str | None:
        """Name of our model."""
        return next((name for name, model in self.models.items() if model.kind == "ours"), None)

    @property
    def trainings(self) -> list[Cell]:
        """The first cell of each tuned model."""
        return list({cell.tuned: cell for cell in reversed(self.cells)}.values())[::-1]

    @classmethod
    def load(cls, path: Path) -> "Study":
        """
        Raises:
            ValueError: naming the file and the key that is not known, or the value that is wrong.
        """
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:  # of TOML too
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        known = ("seeds", "train_examples", "test_examples", "tuning", "tasks", "models", "grid")
        _refuse_unknown("the study", values, known)
        tuning = _config(TaskConfig(), values.get("tuning", {}), "tuning")
        tasks = {
            _one_of(Task, name, "task"): _task(name, task, tuning) for name, task in values.get("tasks", {}).items()
        }
        models = {name: _model(name, model) for name, model in values.get("models", {}).items()}
        kinds = [model.kind for model in models.values()]
        if not models or kinds.count("ours") > 1 or len({_slug(name) for name in models}) < len(models):
            raise ValueError("a study has models whose names differ in letters and digits, one of them `ours` at most")
        cells = [
            cell for block in values.get("grid", []) for cell in _cells(block, tasks, models, values.get("seeds", [0]))
        ]
        if not cells:
            raise ValueError("a study has a [[grid]] of one cell at least")
        first = {cell.tuned: place for place, cell in reversed(list(enumerate(cells)))}
        cells = sorted(dict.fromkeys(cells), key=lambda cell: first[cell.tuned])
        limits = {name: values[name] for name in ("train_examples", "test_examples") if name in values}
        return cls(tasks=tasks, models=models, cells=cells, **limits)


def _task(name: str, values: Mapping[str, Any], tuning: TaskConfig) -> TaskSource:
    _refuse_unknown(f"task {name}", values, ("data", "label", "tuning"))
    own = {key: values[key] for key in ("data", "label") if key in values}
    return TaskSource(task=name, tuning=_config(tuning, values.get("tuning", {}), f"task {name}"), **own)  # type: ignore[arg-type]


def _config(base: TaskConfig, values: Mapping[str, Any], where: str) -> TaskConfig:
    known = [field.name for field in fields(TaskConfig) if field.name != "seed"]  # which the study's seeds are
    _refuse_unknown(where, values, known)
    return replace(base, **values)


def _model(name: str, values: Mapping[str, Any]) -> Model:
    _refuse_unknown(f"model {name}", values, ("model", "run", "kind", "settings"))
    run = Path(values["run"]) if "run" in values else None
    kind = _one_of(Kind, values.get("kind", "other"), f"kind of model {name}")
    return Model(name=name, model=values["model"], run=run, kind=kind, settings=tuple(values.get("settings", ())))


def _cells(
    block: Mapping[str, Any], tasks: Mapping[Task, TaskSource], models: Mapping[str, Model], seeds: Sequence[int]
) -> list[Cell]:
    _refuse_unknown("a grid", block, ("setting", "tasks", "models", "protocols", "ratios", "donors"))
    setting = _one_of(Setting, block.get("setting", "train-clean"), "setting")
    of_tasks, of_models = (
        _known(name, block.get(name, list(there)), there) for name, there in (("tasks", tasks), ("models", models))
    )
    protocols, donors = _known("protocols", block.get("protocols", PAPER), PROTOCOLS), block.get("donors", "any")
    ratios = block.get("ratios", [0, 0.2, 0.5, 0.8, 1])
    return [
        _cell(task, model, setting, Noise(protocol=protocol, ratio=ratio, seed=seed, donors=donors))
        for task, model, seed, protocol, ratio in itertools.product(of_tasks, of_models, seeds, protocols, ratios)
    ]


def _cell(task: Task, model: str, setting: Setting, noise: Noise) -> Cell:
    common: dict[str, Any] = {"task": task, "model": model, "seed": noise.seed}
    if noise.ratio == 0:
        return Cell(setting="train-clean", protocol=CLEAN, ratio=0.0, noise=None, **common)
    protocol = noise.protocol if noise.donors == "any" else f"{noise.protocol} {noise.donors}"
    return Cell(setting=setting, protocol=protocol, ratio=float(noise.ratio), noise=noise, **common)


def _known(what: str, names: Sequence[Any], there: Mapping[Any, Any]) -> Sequence[Any]:
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ValueError(f"{what} of a grid are among {', '.join(there)} (got {', '.join(map(str, unknown))})")
    return names


def _one_of(kind: Any, given: Any, what: str) -> Any:
    if given not in get_args(kind):
        raise ValueError(f"{what} is one of {', '.join(get_args(kind))} (got {given!r})")
    return given


def _refuse_unknown(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"unknown key {', '.join(unknown)} in {where}: expected one of {', '.join(known)}")
