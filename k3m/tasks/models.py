"""Models by name: K3M, and every baseline; made for a task, or read from the folder of one that was tuned."""

import copy
from pathlib import Path

from graphstore import Store
from k3m.checkpoint import WEIGHTS, load_weights
from k3m.config import Config
from k3m.model import K3M
from k3m.run import Run
from k3m.tasks import classify, tune
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import TaskData
from k3m.tasks.encoders import ItemEncoder, K3MEncoder
from k3m.tasks.folder import TaskInfo, read_info
from k3m.tasks.neural import NeuralTuned
from k3m.tasks.scoring import Tuned
from k3m.tasks.view import QuestionTokenizer
from k3m.text_encoders import load_architecture

K3M_NAME = "k3m"


def tuned_by(name: str, data: TaskData, source: Store, config: TaskConfig, run: Run | None = None) -> Tuned:
    """The model of this name, tuned for the task.

    Args:
        source: what train and valid are read from.
        run: of K3M; for a baseline it names the sizes, front ends and vocabulary.

    Raises:
        ValueError: for a name that is none, K3M without a run, a model that has seen the label.
        NotRun: for a model that cannot be had here.
    """
    if name != K3M_NAME:
        raise ValueError(f"--model must be one of {K3M_NAME} (got {name!r})")
    if run is None:
        raise ValueError("k3m is tuned from a run: name one (--run RUN; python -m k3m.train makes one)")
    if data.task == "classify":
        data = classify.unseen(data, source, run.visible, run.candidates.properties)
    encoder = K3MEncoder(copy.deepcopy(run.model), config.cross)
    encoder.pretrained, encoder.architecture = True, load_architecture(run.directory)
    origin = {"run": str(run.directory), "weights": run.fingerprint}
    return tune.tune(name, encoder, QuestionTokenizer(run.tokenizer.tokenizer), data, source, config, origin)


def load(directory: Path) -> Tuned:
    """The model that was saved there.

    Raises:
        NotTuned: for a folder that holds none.
        CheckpointError: weights that do not fit.
    """
    info = read_info(directory)
    tokenizer = QuestionTokenizer.load(directory / "tokenizer.json")
    config = Config.load(directory / "config.toml")
    encoder = encoder_of(info, config, tokenizer, directory)
    tuned = NeuralTuned(encoder, tokenizer, info)
    load_weights(tuned.whole, directory / WEIGHTS)
    return tuned


def encoder_of(info: TaskInfo, config: Config, tokenizer: QuestionTokenizer, directory: Path) -> ItemEncoder:
    """With fresh weights."""
    architecture = load_architecture(directory)
    encoder = K3MEncoder(K3M(config, tokenizer.vocabulary, architecture), info.config.cross)
    encoder.architecture = architecture
    return encoder
