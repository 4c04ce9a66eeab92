"""`python -m k3m.train --store STORE --run RUN [--preset small] [--resume] [--set key=value ...]`: pretrain K3M on a
catalogue.

The run folder then holds config.toml (resolved), tokenizer.json, candidates.parquet, run.json (store, data version,
split manifest, visible fields, versions), metrics.jsonl, checkpoint.safetensors (to resume) and weights.safetensors
(best on validation).
"""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch_geometric
import tyro

import graphstore
from graphstore import Store
from k3m import rng
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.model import K3M, load_pretrained
from k3m.streaming import Stream, learn_tokenizer
from k3m.text import TextTokenizer
from k3m.text_encoders import load_architecture, open_checkpoint, save_architecture
from k3m.trainer import Trainer, uses_bf16


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
    resume: bool = False
    """Go on with the run in the folder from its last checkpoint; begins one where there is none."""
    set: tuple[str, ...] = ()
    """Settings over the preset: section.key=value ..."""


def start(store: Store, directory: Path, config: Config) -> Trainer:
    """A new run in `directory`: learns the tokenizer, writes all that a run needs beside its weights.

    Raises:
        ValueError: where the folder holds a run already, or the store has nothing to train on.
    """
    if (directory / "config.toml").exists():
        raise ValueError(f"{directory} holds a run already: add --resume to go on with it, or name another folder")
    if store.num_training_triples == 0:
        raise ValueError(
            f"{store.location} has no training triples: ingest a catalogue first (python -m loaders.ingest --help)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    candidates = Candidates.from_store(store)
    if config.text.front == "pretrained":
        tokenizer, architecture = open_checkpoint(config.text.checkpoint)
        save_architecture(directory, architecture)
    else:
        tokenizer = learn_tokenizer(store, config)
    tokenizer.save(directory / "tokenizer.json")
    candidates.save(directory / "candidates.parquet")
    Applicability.from_store(store).save(directory / "applicability.parquet")
    (directory / "run.json").write_text(
        json.dumps(_info(store, config), indent=2, ensure_ascii=False), encoding="utf-8"
    )
    (directory / "config.toml").write_text(
        config.to_toml(), encoding="utf-8"
    )  # last: its presence says that the rest is there
    trainer = _trainer(store, directory, config, tokenizer, candidates)
    for part, names in load_pretrained(trainer.model).items():
        print(
            f"pretrained {part} encoder: every tensor filled; not used of the checkpoint: {', '.join(names) or 'none'}"
        )
    return trainer


def resume(store: Store, directory: Path, config: Config) -> Trainer:
    """The run in `directory` at its last checkpoint.

    Raises:
        ValueError: where settings differ from the run's own, or the store's data are not those it began with.
    """
    own = Config.load(directory / "config.toml")
    if config != own:
        raise ValueError(
            f"{directory} was begun with other settings (config.toml): resume with the same --preset and --set"
        )
    info = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    if info["data_version"] != store.data_version:
        raise ValueError(
            f"{directory} was begun on data version {info['data_version']}, "
            f"{store.location} is at {store.data_version}: start a new run"
        )
    tokenizer, candidates = (
        TextTokenizer.load(directory / "tokenizer.json"),
        Candidates.load(directory / "candidates.parquet"),
    )
    trainer = _trainer(store, directory, config, tokenizer, candidates)
    if (directory / "checkpoint.safetensors").exists():
        trainer.resume()
    return trainer


def _trainer(
    store: Store, directory: Path, config: Config, tokenizer: TextTokenizer, candidates: Candidates
) -> Trainer:
    torch.manual_seed(rng.torch_seed(config.train.seed, "initial weights"))
    model = K3M(config, tokenizer.vocabulary, load_architecture(directory))
    return Trainer(model, Stream(store, config, tokenizer, candidates), config, directory)


def _info(store: Store, config: Config) -> dict[str, Any]:
    return {
        "store": store.location,
        "data_version": store.data_version,
        "items": store.num_items,
        "training_triples": store.num_training_triples,
        "split_manifest": store.split_manifest,
        "visible": ["title", "image", *config.visible.fields],
        "seed": config.train.seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
        },
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "bf16": uses_bf16(config.train.precision),
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="k3m train")
    config = Config.from_preset(arguments.preset, arguments.set)
    with graphstore.open(arguments.store) as store:
        begun = arguments.resume and (arguments.run / "config.toml").exists()
        trainer = (resume if begun else start)(store, arguments.run, config)
        trainer.fit()
    print(f"{arguments.run}: {trainer.state.step} steps, best validation MRR {trainer.state.best_mrr:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
