"""K3M on the three tasks, end to end."""

from pathlib import Path

import numpy as np
import pytest

from graphstore import Store
from k3m.run import Run
from k3m.tasks import models, tune
from k3m.tasks.data import TaskData
from tests.k3m.tasks.conftest import QUICK
import dataclasses


@pytest.mark.parametrize("task", ["classify", "align", "answer"])
@pytest.mark.parametrize("mode", ["whole", "frozen"])
def test_a_tuned_model_saves_and_loads(
    task: str, mode: str, tasks: dict[str, TaskData], store: Store, run: Run, tmp_path: Path
) -> None:
    data = tasks[task]
    tuned = models.tuned_by("k3m", data, store, dataclasses.replace(QUICK, mode=mode), run)
    before = tune.evaluate(tuned, data, store)
    assert before.metrics["n"] == len(data.test) == len(before.outcomes)
    tuned.save(tmp_path / "tuned")
    loaded = models.load(tmp_path / "tuned")
    assert np.array_equal(loaded.scores(data.test, store), tuned.scores(data.test, store))
    assert tune.evaluate(loaded, data, store).metrics == before.metrics
