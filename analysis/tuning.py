"""PyKEEN's models on a catalogue: tuned with Optuna on the part of `valid` to select by, within a budget of minutes.

A study lies in a folder: `study.log` (its trials), `trial-N.safetensors` (weights of the best one so far). The same
command again goes on with what is left of the budget; a trial that was cut off is drawn anew.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from analysis.embeddings import CatalogueGraph, Embedding, EmbeddingPredictor, Name, Settings, Training
from analysis.pool import selecting
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import link_metrics, rank_triples


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Of one model under one training."""

    minutes: float = 20.0
    """For all of its trials together; one that runs is ended when they are over."""
    trials: int = 20
    """Settings to try at most."""
    epochs: int = 40
    """Passes over the training triples at most, a trial."""
    check: int = 2
    """Passes between two looks at the triples to select by; a trial ends when it has become worse, or is worse than
    most."""
    dimension: int = 128
    """Real numbers an entity."""
    seed: int = 0
    """Of the settings drawn, of weights and of negatives."""


@dataclass(frozen=True)
class Tuning:
    """One study on one store: an objective for Optuna."""

    budget: Budget
    model: Name
    training: Training
    folder: Path
    graph: CatalogueGraph
    candidates: Candidates
    selecting: pd.DataFrame
    known: pd.DataFrame

    @classmethod
    def of(cls, store: Store, model: Name, training: Training, folder: Path, budget: Budget) -> "Tuning":
        """
        Raises:
            ValueError: for a store without kept-back triples to tune on.
        """
        chosen = selecting(store)
        graph = CatalogueGraph(store.triples().to_pandas())
        chosen = chosen[chosen["item"].isin(graph.items)]
        if chosen.empty:
            raise ValueError(f"{store.location} has nothing to tune on: expected triples of split valid to select by")
        known = store.triples((None, *store.counts().splits)).to_pandas()
        return cls(budget, model, training, folder, graph, Candidates.from_store(store), chosen, known)

    def __call__(self, trial: Trial) -> float:
        """The best MRR of one draw of settings; its weights are kept under the trial's number."""
        begun, left = time.monotonic(), self.minutes_left(trial.study)
        embedding, reached = self.graph.embedding(self.settings(trial), self.budget.seed), -1.0
        for epoch in self._checks(embedding):
            mrr, spent = self.mrr(embedding), (time.monotonic() - begun) / 60
            trial.report(mrr, epoch)
            trial.set_user_attr("minutes", spent)
            if mrr <= reached:
                break
            reached = mrr
            trial.set_user_attr("epochs", epoch)
            embedding.save(self._weights(trial))
            if spent >= left or trial.should_prune():
                break
        return reached

    def _weights(self, trial: Trial | FrozenTrial) -> Path:
        """By number: what a trial that was cut off left is never taken for another's."""
        return self.folder / f"trial-{trial.number}.safetensors"

    def _checks(self, embedding: Embedding) -> Iterator[int]:
        """Train; the epochs after which to look."""
        while embedding.epoch < self.budget.epochs:
            for _ in range(min(self.budget.check, self.budget.epochs - embedding.epoch)):
                embedding.train_epoch()
            yield embedding.epoch

    def mrr(self, embedding: Embedding) -> float:
        """On the triples to select by."""
        predictor = EmbeddingPredictor(embedding, self.graph, self.candidates)
        ranks = rank_triples(predictor, self.selecting, self.known, self.candidates)
        return link_metrics(ranks, self.selecting["property"].to_numpy())["mrr"]

    def settings(self, trial: Trial | FrozenTrial) -> Settings:
        """What is drawn, or was."""
        drawn = {"lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True)} | _DRAWN[self.training](trial)
        if self.model == "TransE" and self.training != "all":
            drawn["norm"] = trial.suggest_categorical("norm", [1, 2])
        if self.model == "TuckER":
            drawn["dropout"] = trial.suggest_categorical("dropout", [0.0, 0.2, 0.4])
        if self.model in ("DistMult", "ComplEx"):
            drawn["penalty"] = trial.suggest_float("penalty", 1e-4, 1e-1, log=True)
        return Settings(model=self.model, training=self.training, dimension=self.budget.dimension, **drawn)

    def minutes_left(self, study: optuna.Study) -> float:
        return self.budget.minutes - minutes(study)

    def study(self) -> optuna.Study:
        """Kept in the folder; begun where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=f"{self.model} {self.training}",
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(self.folder / "study.log"))),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
            direction="maximize",
            load_if_exists=True,
        )
        # A sampler forgets where it was: going on with its first seed would draw the first settings again.
        study.sampler = optuna.samplers.TPESampler(seed=self.budget.seed + len(study.trials))
        return study

    def best(self) -> tuple[EmbeddingPredictor, optuna.Study]:
        """The best model of all trials, after those that are left of the budget."""
        study = self.study()
        while len(_done(study)) < self.budget.trials and (self.minutes_left(study) > 0 or not _done(study)):
            study.optimize(self, n_trials=1)
            for path in set(self.folder.glob("trial-*.safetensors")) - {self._weights(study.best_trial)}:
                path.unlink()
        embedding = self.graph.embedding(self.settings(study.best_trial), self.budget.seed)
        embedding.load(self._weights(study.best_trial))
        return EmbeddingPredictor(embedding, self.graph, self.candidates), study


def _margin(trial: Trial | FrozenTrial) -> dict[str, Any]:
    return {
        "margin": trial.suggest_categorical("margin", [0.25, 0.5, 1.0, 2.0]),
        "negatives": trial.suggest_categorical("negatives", [8, 32]),
        "batch_size": trial.suggest_categorical("batch_size", [256, 1024]),
    }


def _nssa(trial: Trial | FrozenTrial) -> dict[str, Any]:
    return {
        "margin": trial.suggest_categorical("margin", [3.0, 6.0, 9.0, 12.0]),
        "temperature": trial.suggest_categorical("temperature", [0.5, 1.0, 2.0]),
        "negatives": trial.suggest_categorical("negatives", [8, 32]),
        "batch_size": trial.suggest_categorical("batch_size", [256, 1024]),
    }


def _all(trial: Trial | FrozenTrial) -> dict[str, Any]:
    return {
        "inverse": True,
        "targets": "seen",
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "adagrad"]),
        "smoothing": trial.suggest_categorical("smoothing", [0.0, 0.1]),
        "batch_size": trial.suggest_categorical("batch_size", [256, 1024]),
    }


_DRAWN = {"margin": _margin, "nssa": _nssa, "all": _all}


def minutes(study: optuna.Study) -> float:
    """That all trials took, those that were cut off too."""
    return sum(trial.user_attrs.get("minutes", 0.0) for trial in study.trials)


def _done(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
