"""What K3M and every baseline keep to, whatever they are made of."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from graphstore import Store
from graphstore.view import StoreView
from k3m.tasks import models, tune
from k3m.tasks.data import TaskData
from tests.k3m.tasks.conftest import QUICK, SMALL, catalogue, store_of, tasks_of, untrained

NEURAL = (models.K3M_NAME, *models.PRESETS)
EVERY = (*NEURAL, "tfidf")
TASKS = ("classify", "align", "answer")


def tuned(name: str, task: str, made: tuple[Store, dict[str, TaskData], Path], **changes: object) -> models.Tuned:
    store, tasks, run = made
    config = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
    given = (run, ()) if name == models.K3M_NAME else (None, SMALL)
    return models.tuned_by(name, tasks[task], store, config, *given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, TaskData], Path]:
    store = store_of(catalogue())
    return store, tasks_of(store), untrained(store, tmp_path_factory.mktemp("runs") / "run")


class Bare(StoreView):
    """A store without titles, photographs and triples."""

    def _item_features(self, ords, fields):  # type: ignore[no-untyped-def]
        found = super()._item_features(ords, fields)
        return {name: np.full(len(ords), None) if name in ("title", "image") else own for name, own in found.items()}

    def _neighbours(self, ords):  # type: ignore[no-untyped-def]
        found = super()._neighbours(ords)
        return dataclasses.replace(
            found,
            indptr=np.zeros_like(found.indptr),
            property=found.property[:0],
            value=found.value[:0],
            edge_id=found.edge_id[:0],
        )


@pytest.mark.parametrize("name", EVERY)
def test_scores_have_the_task_s_shape_and_survive_a_saved_folder(
    name: str,
    made: tuple[Store, dict[str, TaskData], Path],
    tmp_path: Path,
) -> None:
    source, data, _ = made
    for task, width in (("classify", (2,)), ("align", ()), ("answer", (len(data["answer"].answers),))):
        model, test = tuned(name, task, made), data[task].test
        scores = model.scores(test, source)
        assert scores.shape == (len(test), *width)
        model.save(tmp_path / task)
        loaded = models.load(tmp_path / task)
        assert np.array_equal(loaded.scores(test, source), scores)
        assert tune.evaluate(loaded, data[task], source).metrics == tune.evaluate(model, data[task], source).metrics


@pytest.mark.parametrize("name", EVERY)
def test_batch_mates_and_padding_change_nothing(name: str, made: tuple[Store, dict[str, TaskData], Path]) -> None:
    source, data, _ = made
    model, test = tuned(name, "classify", made), data["classify"].test
    together = model.scores(test, source)
    alone = np.concatenate([model.scores(test.take([row]), source) for row in range(len(test))])
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_an_item_of_which_nothing_is_there_has_finite_scores(
    name: str, made: tuple[Store, dict[str, TaskData], Path]
) -> None:
    source, data, _ = made
    model = tuned(name, "align", made, cross=name in NEURAL)
    assert np.isfinite(model.scores(data["align"].test, Bare(source))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k3m", "vilbert_pkg", "lxmert", "vlbert", "text_pkg", "videobert", "pkgm"])
def test_sixteen_items_can_be_learnt_by_heart(name: str, made: tuple[Store, dict[str, TaskData], Path]) -> None:
    """One of each layout."""
    source, data, run_folder = made
    task = data["classify"]
    few = dataclasses.replace(task, train=task.train.take(range(16)), valid=task.train.take(range(16)))
    quick = {"epochs": 40, "valid_every": 10, "batch_size": 16, "head_lr": 5e-3, "lr": 5e-3}
    model = tuned(name, "classify", (source, {"classify": few}, run_folder), **quick)
    assert tune.evaluate(model, few, source, "valid").metrics["accuracy"] == 1.0


def test_a_pair_is_read_the_same_in_any_batch(made: tuple[Store, dict[str, TaskData], Path]) -> None:
    source, data, _ = made
    test = data["align"].test
    for name in ("k3m", "vilbert_pkg", "text_pkg", "videobert", "pkgm"):
        model = tuned(name, "align", made, cross=True)
        alone = np.concatenate([model.scores(test.take([row]), source) for row in range(len(test))])
        assert np.allclose(model.scores(test, source), alone, atol=1e-5)
