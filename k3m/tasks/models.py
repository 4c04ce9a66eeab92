"""Models by name: K3M, and every baseline; made for a task, or read from the folder of one that was tuned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import k3m
from graphstore import Store
from k3m.baselines import clip, pretraining, tfidf
from k3m.baselines.model import Baseline
from k3m.baselines.presets import PRESETS
from k3m.checkpoint import WEIGHTS, load_weights
from k3m.config import Config
from k3m.model import K3M
from k3m.tasks import classify, folder, tune
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import TaskData
from k3m.tasks.encoders import ItemEncoder, K3MEncoder
from k3m.tasks.neural import NeuralTuned, info_of
from k3m.tasks.scoring import Tuned
from k3m.tasks.view import QuestionTokenizer
from k3m.text import TextTokenizer
from k3m.text_encoders import load_architecture

K3M_NAME = "k3m"
NAMES = (K3M_NAME, *PRESETS, tfidf.NAME, clip.NAME)


def tuned_by(
    name: str,
    data: TaskData,
    source: Store,
    config: TaskConfig,
    run: Path | None = None,
    settings: Sequence[str] = (),
) -> Tuned:
    """The model of this name, tuned for the task.

    Args:
        source: what train and valid are read from.
        run: the folder of a run of K3M, or of a pretrained baseline. A baseline that is given a run of K3M begins from
            scratch, at its sizes, with its front ends and vocabulary; with none, at those of the preset `small`.
        settings: of a baseline from scratch, section.key=value over these.

    Raises:
        ValueError: for a name that is none, K3M without a run, a model that has seen the label.
        NotRun: for a model that cannot be had here.
    """
    if name not in NAMES:
        raise ValueError(f"--model must be one of {', '.join(NAMES)} (got {name!r})")
    if name == tfidf.NAME:
        return _tfidf(data, source, config)
    if name == clip.NAME:
        return _clip(data, source, config, settings)
    make = _k3m if name == K3M_NAME else _baseline
    encoder, tokenizer, seen, origin = make(name, source, config, run, settings)
    if data.task == "classify":
        data = classify.unseen(data, source, encoder.config.visible.fields, seen)
    own = QuestionTokenizer(tokenizer.tokenizer)
    return tune.tune(name, encoder, own, data, source, config, origin)


def _tfidf(data: TaskData, source: Store, config: TaskConfig) -> Tuned:
    if data.task == "classify":
        data = classify.unseen(data, source, (), ())
    tuned = tfidf.TfidfTuned.tuned(info_of(tfidf.NAME, data, config), data, source)
    tune.with_threshold(tuned, data, source)
    return tuned


def _clip(data: TaskData, source: Store, config: TaskConfig, settings: Sequence[str]) -> Tuned:
    """A linear head over frozen vectors, whatever the config says."""
    encoder = clip.ClipEncoder.of(Config.from_preset("small", ["image.front=open_clip", *settings]))
    linear = replace(config, mode="frozen", cross=False, single=True)
    # Its text has its own tokenizer: this one is never asked.
    words = QuestionTokenizer(TextTokenizer.learn(["a product"], 100).tokenizer)
    return tune.tune(clip.NAME, encoder, words, data, source, linear, {"from": "open_clip"}, clip.ClipTuned)


Made = tuple[ItemEncoder, TextTokenizer, Sequence[str], dict[str, object]]
"""Encoder, tokenizer, properties that its pretraining saw, where it comes from."""


def _k3m(name: str, source: Store, config: TaskConfig, run: Path | None, settings: Sequence[str]) -> Made:
    if run is None:
        raise ValueError("k3m is tuned from a run: name one (--run RUN; python -m k3m.train makes one)")
    if settings:
        raise ValueError("k3m has the settings of its run: leave --set out")
    found = k3m.load(run)
    if found.config.model.shared_values:
        raise ValueError(
            f"{run} reads two hops, which would show an asked triple: tune one without model.shared_values"
        )
    encoder = K3MEncoder(found.model, config.cross)
    encoder.architecture = load_architecture(run)
    return encoder, found.tokenizer, found.candidates.properties, {"run": str(run), "weights": found.fingerprint}


def _baseline(name: str, source: Store, config: TaskConfig, run: Path | None, settings: Sequence[str]) -> Made:
    if run is not None and (run / folder.NAME).is_file():
        if settings:
            raise ValueError(f"{name} has the settings of {run}: leave --set out")
        encoder, tokenizer, info = pretraining.load(run, name)
        return encoder, tokenizer, info["properties"], {"run": str(run), **info}
    encoder, tokenizer = pretraining.fresh(name, source, run, settings)
    return encoder, tokenizer, (), {"from": "scratch", "sizes": str(run) if run else "small"}


def load(directory: Path) -> Tuned:
    """The model that was saved there.

    Raises:
        NotTuned: for a folder that holds none.
        CheckpointError: weights that do not fit.
    """
    info = folder.read_info(directory)
    if info.name == tfidf.NAME:
        return tfidf.TfidfTuned.load(directory)
    tokenizer = QuestionTokenizer.load(directory / "tokenizer.json")
    config, architecture = Config.load(directory / "config.toml"), load_architecture(directory)
    encoder: ItemEncoder
    if info.name == clip.NAME:
        tuned: NeuralTuned = clip.ClipTuned(clip.ClipEncoder.of(config), tokenizer, info)
        load_weights(tuned.kept, directory / WEIGHTS)
        return tuned
    if info.name == K3M_NAME:
        encoder = K3MEncoder(K3M(config, tokenizer.vocabulary, architecture), info.config.cross)
    else:
        encoder = Baseline(PRESETS[info.name], config, tokenizer.vocabulary, architecture)
    encoder.architecture = architecture
    tuned = NeuralTuned(encoder, tokenizer, info)
    load_weights(tuned.kept, directory / WEIGHTS)
    return tuned
