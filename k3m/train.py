"""`python -m k3m.train --store STORE --run RUN [--preset small | --from OLD] [--resume] [--set key=value ...]`:
pretrain K3M on a catalogue; `torchrun --nproc-per-node N -m k3m.train ...` shares each batch between N processes.

The run folder then holds config.toml (resolved), tokenizer.json, candidates.parquet, run.json (store, data version,
split manifest, visible fields, versions), items.npy (which items the store had), metrics.jsonl, checkpoint.safetensors
(to resume) and weights.safetensors (best on validation).
"""

import dataclasses
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch_geometric
import tyro
from tyro.conf import arg

import graphstore
from graphstore import Store
from k3m import rng, trained_items
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.checkpoint import WEIGHTS, fingerprint, load_weights
from k3m.config import Config
from k3m.following import wait_until_settled
from k3m.metrics import Metrics
from k3m.model import K3M, load_pretrained
from k3m.optimisation import device_of, uses_bf16
from k3m.processes import Processes
from k3m.rejections import Rejections
from k3m.run_info import read_info, write_info
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import TextTokenizer
from k3m.text_encoders import ARCHITECTURE, load_architecture, open_checkpoint, save_architecture
from k3m.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Pretrain K3M on the training triples of a store."""

    store: str
    """Store to stream from: a Ladybug file, a snapshot folder, a mapping (MAP.toml) of another graph, or
    neo4j://user@host:port/database (password: K3M_NEO4J_PASSWORD)."""
    run: Path
    """Folder of the run; made if it does not exist."""
    preset: str = "small"
    """Settings to start from."""
    start_from: Annotated[Path | None, arg(name="from")] = None
    """A finished run whose weights, tokenizer and settings this one begins with, in the place of a preset; it trains
    for warm.epochs at warm.peak_lr, and keeps the weights that it began with where no others do better."""
    resume: bool = False
    """Go on with the run in the folder from its last checkpoint; begins one where there is none."""
    max_minutes: float = 0.0
    """Stop in time, with a checkpoint that --resume goes on from; 0: no limit."""
    refit: bool = False
    """Once the evaluation is done: train anew on all triples, the kept-back ones too, for as many steps as the run in
    the folder took to its best validation, into RUN/refit. Nothing can be evaluated with that."""
    set: tuple[str, ...] = ()
    """Settings over the preset: section.key=value ..."""


def start(
    store: Store,
    directory: Path,
    config: Config,
    processes: Processes | None = None,
    warm: Path | None = None,
) -> Trainer:
    """A new run in `directory`: learns the tokenizer, writes all that a run needs beside its weights.

    Args:
        warm: a finished run whose tokenizer and weights it takes (`Config.warm_from` has its settings).

    Raises:
        ValueError: where the folder holds a run already, the store has nothing to train on, or `warm` is no finished
            run.
        CheckpointError: for weights that do not fit the model, each of them named.
        CheckpointMismatch, OSError: for a pretrained encoder that does not fill the model's, or is not there.
    """
    processes = processes or Processes()
    if processes.first:
        _begin(store, directory, config, warm)
    processes.wait()
    trainer = _trainer(store, directory, config, processes, fresh=True)
    if warm is not None:
        trainer.begin_warm()
    return trainer


def _begin(store: Store, directory: Path, config: Config, warm: Path | None) -> None:
    """The folder of a new run, with all that it needs beside weights; of a warm start with these, too."""
    if (directory / "config.toml").exists():
        raise ValueError(f"{directory} holds a run already: add --resume to go on with it, or name another folder")
    if store.num_training_triples == 0:
        raise ValueError(
            f"{store.location} has no training triples: ingest a catalogue first (python -m loaders.ingest --help)"
        )
    if warm is not None:
        _require_fit(warm, config)
    directory.mkdir(parents=True, exist_ok=True)
    if warm is not None:
        _take_over(warm, directory)
    elif config.text.front == "pretrained":
        tokenizer, architecture = open_checkpoint(config.text.checkpoint)
        save_architecture(directory, architecture)
        tokenizer.save(directory / "tokenizer.json")
    else:
        learn_tokenizer(store, config).save(directory / "tokenizer.json")
    Candidates.from_store(store).save(directory / "candidates.parquet")
    Applicability.from_store(store).save(directory / "applicability.parquet")
    trained_items.record(store, directory)
    if config.loss.rejected:
        Rejections.from_store(store).save(directory)
    origin = {} if warm is None else {"warm_from": {"run": str(warm), "model": fingerprint(warm)}}
    write_info(directory, _info(store, config) | origin)
    # Last: its presence says that the rest is there.
    (directory / "config.toml").write_text(config.to_toml(), encoding="utf-8")


def _require_fit(run: Path, config: Config) -> None:
    """Before anything is written."""
    for name in (WEIGHTS, "tokenizer.json"):
        if not (run / name).is_file():
            raise ValueError(f"{run} holds no finished run to begin with: {name} is missing")
    vocabulary = TextTokenizer.load(run / "tokenizer.json").vocabulary
    load_weights(K3M(config, vocabulary, load_architecture(run)), run / WEIGHTS)


def _take_over(run: Path, directory: Path) -> None:
    """What a warm start has of the run it begins with."""
    for name in (WEIGHTS, "tokenizer.json", ARCHITECTURE, trained_items.NAME):
        if (run / name).exists():
            shutil.copyfile(run / name, directory / name)


def resume(store: Store, directory: Path, config: Config, processes: Processes | None = None) -> Trainer:
    """The run in `directory` at its last checkpoint. Where its live store has newer data, it goes on with those.

    Raises:
        ValueError: where settings differ from the run's own, or the store's data are not those it began with.
    """
    own = Config.load(directory / "config.toml")
    if config != own:
        raise ValueError(
            f"{directory} was begun with other settings (config.toml): resume with the same --preset and --set"
        )
    info = read_info(directory)
    moved = info["data_version"] != store.data_version
    if moved and not (store.live and info["store"] == store.location):
        raise ValueError(
            f"{directory} was begun on data version {info['data_version']}, "
            f"{store.location} is at {store.data_version}: start a new run"
        )
    warm = _is_warm(directory)
    trainer = _trainer(store, directory, config, processes or Processes(), fresh=False)
    if (directory / "checkpoint.safetensors").exists():
        trainer.resume()
    elif trainer.processes.first:
        trainer.metrics.cut_after(-1)  # nothing else is kept of what was begun
    if moved:
        trainer.catch_up()
    if warm:
        trainer.begin_warm()
    return trainer


def _trainer(store: Store, directory: Path, config: Config, processes: Processes, fresh: bool) -> Trainer:
    tokenizer = TextTokenizer.load(directory / "tokenizer.json")
    candidates = Candidates.load(directory / "candidates.parquet")
    rejections = Rejections.of_run(directory)
    torch.manual_seed(rng.torch_seed(config.train.seed, "initial weights"))
    model = K3M(config, tokenizer.vocabulary, load_architecture(directory))
    if _is_warm(directory):
        load_weights(model, directory / WEIGHTS)
    elif fresh and processes.first:  # the others get its weights
        _fill(model)
    stream = Stream(store, config, tokenizer, candidates, rejections)
    if stream.rejected is not None and processes.first:
        assert rejections is not None
        print(f"{len(stream.rejected)} of {len(rejections.table)} rejected values are candidates of their property")
    return Trainer(model, stream, config, directory, processes)


def _is_warm(directory: Path) -> bool:
    """Whether the run begins with the weights in its folder; once it has a checkpoint, that has newer ones."""
    return "warm_from" in read_info(directory) and not (directory / "checkpoint.safetensors").exists()


def _fill(model: K3M) -> None:
    for part, names in load_pretrained(model).items():
        unused = ", ".join(names) or "none"
        print(f"pretrained {part} encoder: every tensor filled; of the checkpoint not used: {unused}")


def refit(store: Store, directory: Path) -> Trainer:
    """A new run in `directory`/refit, on all triples of the store, for as many steps as the finished run took to its
    best validation.

    Raises:
        ValueError: where the folder holds no run that was validated, or one that began with another's weights.
    """
    if "warm_from" in (read_info(directory) if (directory / "run.json").exists() else {}):
        raise ValueError(f"{directory} began with another run's weights: refit a run that did not")
    validated = Metrics(directory).validated() if (directory / "weights.safetensors").exists() else []
    if not validated:
        raise ValueError(f"{directory} holds no finished run with a validation: train one first, then --refit")
    best = max(validated, key=lambda line: line["valid_mrr"])
    config = Config.load(directory / "config.toml")
    changed = dataclasses.replace(config.train, steps=int(best["step"]), eval_triples=0, patience=0)
    graphstore.write_snapshot(store, directory / "refit-data", all_for_training=True)
    everything = graphstore.open(directory / "refit-data")
    trainer = start(everything, directory / "refit", dataclasses.replace(config, train=changed))
    write_info(trainer.directory, read_info(trainer.directory) | {"refit_of": str(directory)})
    return trainer


def _info(store: Store, config: Config) -> dict[str, Any]:
    return {
        "store": store.location,
        "data_version": store.data_version,
        "data_versions": [{"version": store.data_version, "from_step": 0}],
        "items": store.num_items,
        "training_triples": store.num_training_triples,
        "split_manifest": store.split_manifest,
        "visible": list(config.visible.shown),
        "seed": config.train.seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
        },
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": str(device_of(config.train.device)),
            "bf16": uses_bf16(config.train.precision, device_of(config.train.device)),
        },
    }


def config_of(arguments: Arguments) -> Config:
    """As the preset, or the run that is begun with, and the settings over it have it.

    Raises:
        ValueError: where both are named, or what is begun with is no run.
    """
    if arguments.start_from is None:
        return Config.from_preset(arguments.preset, arguments.set)
    if arguments.preset != Arguments.preset:
        raise ValueError("--from takes the settings of a run: leave --preset out")
    if not (arguments.start_from / "config.toml").is_file():
        raise ValueError(f"{arguments.start_from} holds no run to begin with: config.toml is missing")
    return Config.warm_from(arguments.start_from / "config.toml", arguments.set)


def _started(store: Store, arguments: Arguments, config: Config, processes: Processes) -> Trainer:
    if arguments.resume and (arguments.run / "config.toml").exists():
        return resume(store, arguments.run, config, processes)
    return start(store, arguments.run, config, processes, arguments.start_from)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m train")
    config = config_of(arguments)
    processes = Processes.started(device_of(config.train.device))
    with graphstore.open(arguments.store) as store:
        wait_until_settled(store)
        trainer = refit(store, arguments.run) if arguments.refit else _started(store, arguments, config, processes)
        trainer.fit(arguments.max_minutes)
    if processes.first:
        print(f"{trainer.directory}: {trainer.state.step} steps, best validation MRR {trainer.state.best_mrr:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
