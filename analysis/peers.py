"""A rival of K3M that knows the triples alone: PyKEEN's TransE, tuned.

`python -m analysis.peers --store STORE --out DIR`. It is trained on the store's training triples alone, tuned with
Optuna on split `valid`, and ranked by the code that ranks K3M (`k3m.ranks`). It knows an item by its training triples
only: of an item without any it can say nothing.

A study is kept in DIR: the same command again goes on with the trials that are left.

Legend: n items asked, K candidates, D width.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
import tyro
from jaxtyping import Float
from optuna.storages.journal import JournalFileBackend
from pykeen.models import Model, TransE
from pykeen.training import SLCWATrainingLoop
from pykeen.triples import TriplesFactory
from safetensors.torch import load_file, save_file
from tqdm import tqdm

import graphstore
from graphstore import Store
from k3m.candidates import Candidates
from k3m.ranks import link_metrics, rank_triples

WEIGHTS = "weights.safetensors"
"""Of the best trial so far."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tune PyKEEN's TransE on a catalogue's training triples and rank its kept-back ones."""

    store: str
    """A Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or neo4j://user@host:port/database."""
    out: Path
    """Folder of the study: its trials, the best weights, metrics.json."""
    evaluate: tuple[str, ...] = ("test",)
    """Splits whose kept-back triples are ranked by the best trial."""
    trials: int = 8
    """Settings to try, in all."""
    epochs: int = 40
    """Passes over the training triples at most, a trial."""
    check: int = 5
    """Passes between two looks at `valid`; a trial ends when it has become worse, or is worse than most."""
    dimension: int = 128
    """D."""
    seed: int = 0
    """Of the settings drawn, of weights and of negatives."""


class Embeddings:
    """A PyKEEN model as a predictor (`k3m.ranks.Predictor`)."""

    def __init__(self, model: Model, factory: TriplesFactory, candidates: Candidates) -> None:
        self.model, self.factory, self.candidates = model, factory, candidates

    @torch.inference_mode()
    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """The model's own scores.

        Raises:
            ValueError: for an item without a training triple.
        """
        values = self.candidates.of(property)
        if len(values) == 0:
            return np.zeros((len(items), 0))
        heads = [[self._entity(item), self.factory.relation_to_id[property]] for item in items]
        tails = torch.tensor([self.factory.entity_to_id[_value(value)] for value in values])
        return self.model.score_t(torch.tensor(heads), tails=tails).double().numpy()

    def _entity(self, item: str) -> int:
        if (found := self.factory.entity_to_id.get(_item(item))) is None:
            raise ValueError(f"item {item!r} has no training triple: an embedding cannot score it")
        return found


def _item(name: str) -> str:
    """An item and a value of one name are two entities."""
    return f"item {name}"


def _value(text: str) -> str:
    return f"value {text}"


def factory_of(training: pd.DataFrame) -> TriplesFactory:
    """From training triples: columns item, property, value."""
    columns = [training["item"].map(_item), training["property"], training["value"].map(_value)]
    return TriplesFactory.from_labeled_triples(np.stack([column.to_numpy(dtype=str) for column in columns], axis=1))


@dataclass(frozen=True)
class Tuning:
    """One study on one store."""

    arguments: Arguments
    factory: TriplesFactory
    candidates: Candidates
    valid: pd.DataFrame
    known: pd.DataFrame

    @classmethod
    def of(cls, store: Store, arguments: Arguments) -> "Tuning":
        """
        Raises:
            ValueError: for a store without kept-back triples to tune on.
        """
        valid = store.triples(("valid",)).to_pandas()
        if valid.empty:
            raise ValueError(f"{store.location} has no split valid, on which models are tuned")
        known = store.triples((None, *store.counts().splits)).to_pandas()
        return cls(arguments, factory_of(store.triples().to_pandas()), Candidates.from_store(store), valid, known)

    def __call__(self, trial: optuna.Trial) -> float:
        """The best MRR on `valid` of one draw of settings."""
        begun, best = time.monotonic(), -1.0
        model = self.model(_model_settings(trial, self.arguments))
        for epoch in self.trained(model, _training_settings(trial)):
            mrr = self.mrr(model, self.valid)["mrr"]
            trial.report(mrr, epoch)
            if mrr <= best:
                break
            best = mrr
            self._keep(trial, model, best, epoch)
            trial.set_user_attr("minutes", (time.monotonic() - begun) / 60)
            if trial.should_prune():
                break
        return best

    def trained(self, model: Model, settings: dict[str, Any]) -> Iterator[int]:
        """The epochs after which to look at `valid`."""
        loop = SLCWATrainingLoop(
            model=model,
            triples_factory=self.factory,
            optimizer="adam",
            optimizer_kwargs={"lr": settings["lr"]},
            negative_sampler_kwargs={"num_negs_per_pos": settings["negatives"]},
        )
        every = self.arguments.check
        for epoch in range(every, self.arguments.epochs + 1, every):
            model.train()
            options: dict[str, Any] = {"use_tqdm_batch": False, "tqdm_kwargs": {"leave": False}, "num_workers": 0}
            loop.train(self.factory, epoch, settings["batch_size"], continue_training=epoch > every, **options)
            yield epoch

    def model(self, settings: dict[str, Any]) -> Model:
        return TransE(triples_factory=self.factory, random_seed=self.arguments.seed, **settings)

    def mrr(self, model: Model, asked: pd.DataFrame) -> dict[str, float]:
        """Link metrics of triples (columns item, property, value)."""
        model.eval()
        predictor = Embeddings(model, self.factory, self.candidates)
        ranks = rank_triples(predictor, asked, self.known, self.candidates)
        return link_metrics(ranks, asked["property"].to_numpy())

    def _keep(self, trial: optuna.Trial, model: Model, mrr: float, epoch: int) -> None:
        """The weights, where they are the best of the study."""
        trial.set_user_attr("epochs", epoch)
        others = [each.value for each in trial.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]
        if mrr > max((value for value in others if value is not None), default=-1.0):
            save_file(model.state_dict(), self.arguments.out / WEIGHTS)


def _model_settings(trial: optuna.Trial | optuna.trial.FrozenTrial, arguments: Arguments) -> dict[str, Any]:
    margin = trial.suggest_categorical("margin", [0.25, 0.5, 1.0, 2.0])
    norm = trial.suggest_categorical("norm", [1, 2])
    own = {"embedding_dim": arguments.dimension, "scoring_fct_norm": norm}
    return own | {"loss": "marginranking", "loss_kwargs": {"margin": margin}}


def _training_settings(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 3e-4, 3e-2, log=True),
        "negatives": trial.suggest_categorical("negatives", [8, 32]),
        "batch_size": trial.suggest_categorical("batch_size", [256, 1024]),
    }


def study_of(arguments: Arguments) -> optuna.Study:
    """Kept in the folder; begun where there is none."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    journal = JournalFileBackend(str(arguments.out / "study.log"))
    study = optuna.create_study(
        study_name="TransE",
        storage=optuna.storages.JournalStorage(journal),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        direction="maximize",
        load_if_exists=True,
    )
    # A sampler forgets where it was: going on with its first seed would draw the first settings again.
    study.sampler = optuna.samplers.TPESampler(seed=arguments.seed + len(study.trials))
    return study


def tuned(tuning: Tuning, study: optuna.Study) -> Model:
    """The best model of all trials."""
    arguments = tuning.arguments
    done = len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    for _ in tqdm(range(done, arguments.trials), initial=done, total=arguments.trials, desc="trials", unit="trial"):
        study.optimize(tuning, n_trials=1)
    model = tuning.model(_model_settings(study.best_trial, arguments))
    model.load_state_dict(load_file(arguments.out / WEIGHTS))
    return model


def main(arguments: Arguments) -> None:
    with graphstore.open(arguments.store) as store:
        tuning, study = Tuning.of(store, arguments), study_of(arguments)
        model = tuned(tuning, study)
        found = {split: tuning.mrr(model, store.triples((split,)).to_pandas()) for split in arguments.evaluate}
    best = study.best_trial
    metrics = {
        "model": "TransE",
        "settings": best.params | {"dimension": arguments.dimension, "epochs": best.user_attrs["epochs"]},
        "valid_mrr": best.value,
        "trials": len(study.trials),
        "minutes": sum(trial.user_attrs.get("minutes", 0.0) for trial in study.trials),
        "link_completion": found,
    }
    (arguments.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for split, figures in found.items():
        print(f"{split}: MRR {figures['mrr']:.4f}, Hits@1 {figures['hits_at_1']:.4f}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
