"""A tuned model's folder: model.json says what it is, beside weights, settings and tokenizer."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Task

NAME = "model.json"


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What a tuned model keeps of its task."""

    name: str
    """k3m, or the baseline's."""
    task: Task
    config: TaskConfig
    classes: tuple[str, ...] = ()
    """classify: the labels by number."""
    answers: tuple[str, ...] = ()
    """answer: the candidates in the order of the scores."""
    hidden_properties: tuple[str, ...] = ()
    """Properties that tell the label, and are not shown."""
    threshold: float = 0.0
    """align: the score from which a pair is one product."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where its weights come from: run, fingerprint, minutes of pretraining."""


class NotTuned(ValueError):
    """A folder that holds no tuned model."""


def write_info(directory: Path, info: TaskInfo) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / NAME).write_text(json.dumps(asdict(info), indent=2, ensure_ascii=False), encoding="utf-8")


def read_info(directory: Path) -> TaskInfo:
    """Raises NotTuned, naming the command that makes one."""
    path = directory / NAME
    if not path.is_file():
        raise NotTuned(f"{directory} holds no tuned model: {NAME} is missing (python -m k3m.finetune makes one)")
    found = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(found[name]) for name in ("classes", "answers", "hidden_properties")}
    return TaskInfo(**{**found, **lists, "config": TaskConfig(**found["config"])})
