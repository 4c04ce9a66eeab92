"""`python -m k3m.finetune --run RUN --store STORE --task classify|align|answer --data FILE|auto --out DIR`: tune a
model for a downstream task (paper.md section 3), evaluate it on the task's test part.

A text-only alignment set (`--data FOLDER` with train.txt, valid.txt and test.txt, `k3m.tasks.er`) needs no store.

DIR then holds metrics.json (figures of valid and test), outcomes.parquet (a row an example of test: its group, and
whether it was right), history.jsonl, and the tuned model, which `k3m predict` loads. `--model` names a baseline in the
place of K3M.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

import graphstore
from graphstore import Store
from k3m.tasks import align, answer, classify, er, models, tune
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import PARTS, Task, TaskData, from_file
from k3m.tasks.scoring import NotRun, Tuned

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tune a model for a downstream task, and evaluate it."""

    task: Task
    """classify: which class an item is of; align: whether two items are one product; answer: a property's value."""
    out: Path
    """Folder for the tuned model and its figures; made if it does not exist."""
    store: str = ""
    """A snapshot's folder, a Ladybug file, or neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    data: str = AUTO
    """A table without a header, tab-separated: item, label, split (classify), item, other item, 0 or 1, split (align),
    item, property, value, split (answer); split is train, valid or test. auto: made from the store. A folder with
    train.txt, valid.txt and test.txt is a text-only alignment set, which needs no store."""
    run: Path | None = None
    """Folder of the pretrained run. Of a baseline: its own (python -m k3m.baselines.pretraining makes one), or a run of
    K3M, whose sizes, front ends and vocabulary it then takes."""
    model: str = models.K3M_NAME
    """k3m, or a baseline's name."""
    label: str = "category"
    """classify, auto: the item field or the property that is to be told."""
    frozen: bool = False
    """Train the head alone, over vectors that are computed once."""
    cross: bool = False
    """align: read both items in one pass."""
    max_minutes: float = 0.0
    """Stop the training in time; 0: no limit."""
    most_train: int = 0
    """Examples of train at most, drawn; 0: all."""
    most_test: int = 0
    """Examples of test at most, and as many of valid, drawn; 0: all."""
    seed: int = 0
    """Of all that is drawn."""
    set: tuple[str, ...] = ()
    """A baseline from scratch: settings over those of the run or the preset small: section.key=value ..."""
    tuning: TaskConfig = field(default_factory=TaskConfig)
    """Further settings of the training; those above go before."""


@contextmanager
def opened(arguments: Arguments) -> Iterator[tuple[Store, TaskData]]:
    """The store, and the task, from a file, the store, or a folder that has both.

    Raises:
        ValueError: where neither a store nor such a folder is named.
    """
    if not arguments.store:
        if not er.is_folder(Path(arguments.data)) or arguments.task != "align":
            raise ValueError(
                "name a store (--store STORE); only alignment does without, of a folder (--data FOLDER) with "
                "train.txt, valid.txt and test.txt"
            )
        store, data = er.from_folder(Path(arguments.data))
        yield store, data.limited(**_limits(arguments))
        return
    with graphstore.open(arguments.store) as store:
        yield store, data_of(arguments, store)


def data_of(arguments: Arguments, store: Store) -> TaskData:
    """The task's examples, from a file or out of the store, no more than are asked for."""
    return _data(arguments, store).limited(**_limits(arguments))


def _limits(arguments: Arguments) -> dict[str, int]:
    return {"train": arguments.most_train, "valid": arguments.most_test, "test": arguments.most_test}


def _data(arguments: Arguments, store: Store) -> TaskData:
    if arguments.data != AUTO:
        return from_file(arguments.task, Path(arguments.data), store)
    if arguments.task == "classify":
        return classify.from_store(store, arguments.label, arguments.seed)
    return align.from_store(store, arguments.seed) if arguments.task == "align" else answer.from_store(store)


def settings_of(arguments: Arguments) -> TaskConfig:
    """As the command line has them."""
    mode = "frozen" if arguments.frozen else arguments.tuning.mode
    return replace(
        arguments.tuning,
        mode=mode,
        cross=arguments.cross or arguments.tuning.cross,
        max_minutes=arguments.max_minutes or arguments.tuning.max_minutes,
        seed=arguments.seed,
    )


def figures(tuned: Tuned, data: TaskData, store: Store) -> tuple[dict[str, Any], tune.Evaluation]:
    """Of valid and test; answer also by a wording that training has never seen."""
    test = tune.evaluate(tuned, data, store)
    found: dict[str, Any] = {"valid": tune.evaluate(tuned, data, store, "valid").metrics, "test": test.metrics}
    if data.task == "answer":
        tuned.template = answer.UNSEEN_TEMPLATE
        found["test_unseen_template"] = tune.evaluate(tuned, data, store).metrics
        tuned.template = None
    return found, test


def finetune(arguments: Arguments, store: Store, data: TaskData) -> dict[str, Any]:
    """Tune, evaluate, save; what metrics.json holds."""
    if (arguments.out / "metrics.json").exists():
        raise ValueError(f"{arguments.out} holds a tuned model already: name another folder")
    sizes = {name: len(data.part(name)) for name in PARTS}
    told = {"model": arguments.model, "task": data.task, "examples": sizes, "store": store.location}
    try:
        tuned = models.tuned_by(arguments.model, data, store, settings_of(arguments), arguments.run, arguments.set)
    except NotRun as error:
        return _written(arguments.out, told | {"not_run": str(error)})
    tuned.save(arguments.out)
    found, test = figures(tuned, data, store)
    told |= {"tuning": asdict(tuned.info.config), "origin": tuned.info.origin} | found
    test.outcomes.to_parquet(arguments.out / "outcomes.parquet", index=False)
    lines = [json.dumps(line) + "\n" for line in tuned.history]
    (arguments.out / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    return _written(arguments.out, told)


def _written(directory: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Last: its presence says that the rest is there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return told


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m finetune")
    with opened(arguments) as (store, data):
        found = finetune(arguments, store, data)
    if "not_run" in found:
        print(f"{arguments.out}: {arguments.model}, {arguments.task}: {found['not_run']}")
        return 0
    shown = "  ".join(f"{name} {value:.4f}" for name, value in found["test"].items() if name != "n")
    print(f"{arguments.out}: {arguments.model}, {arguments.task}, test n = {found['test']['n']}: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
