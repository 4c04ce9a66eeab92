"""`python -m k3m.baselines.pretraining --model NAME --store STORE --out DIR [--run RUN] [--max-minutes N]`: pretrain a
baseline on what K3M's pretraining sees, for as long.

DIR then holds model.json, config.toml, tokenizer.json and weights.safetensors: `python -m k3m.finetune --model NAME
--run DIR` begins with them.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import tyro
from tqdm import tqdm

import graphstore
from graphstore import Store
from k3m import rng
from k3m.baselines.model import Baseline
from k3m.baselines.presets import PRESETS
from k3m.baselines.visual_words import VisualWordFront
from k3m.candidates import Candidates
from k3m.checkpoint import WEIGHTS, load_weights, save_weights
from k3m.config import Config
from k3m.image_encoders import TowerFront
from k3m.losses import NonFiniteLoss
from k3m.optimisation import device_of, parameter_groups, uses_bf16
from k3m.streaming import Stream, learn_tokenizer
from k3m.tasks.folder import NAME
from k3m.tasks.schedule import rate_at
from k3m.text import TextTokenizer
from k3m.text_encoders import PretrainedEncoder, load_architecture, open_checkpoint, save_architecture


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Pretrain a baseline on the training triples of a store."""

    model: str
    """A baseline's name."""
    store: str
    """A snapshot's folder, a Ladybug file, or neo4j://user@host:port/database."""
    out: Path
    """Folder for its weights; made if it does not exist."""
    run: Path | None = None
    """A run of K3M, whose sizes, front ends and vocabulary it takes; none: the preset small's, a vocabulary of its
    own."""
    max_minutes: float = 0.0
    """Stop in time; 0: after train.epochs."""
    set: tuple[str, ...] = ()
    """Settings over the run's or the preset's: section.key=value ..."""


class WholeStream(Stream):
    """Batches of training that hide no triple: the baselines have no link prediction."""

    @property
    def _hide(self) -> float:
        return 0.0


def fresh(
    name: str, store: Store, run: Path | None = None, settings: Sequence[str] = ()
) -> tuple[Baseline, TextTokenizer]:
    """The baseline from scratch, its pretrained front ends filled where the config names some.

    Args:
        run: of K3M, whose sizes, front ends and vocabulary it takes.

    Raises:
        ValueError: for a name that is no preset's.
    """
    if name not in PRESETS:
        raise ValueError(f"--model must be one of {', '.join(PRESETS)} (got {name!r})")
    base = Config.from_preset("small", settings) if run is None else Config.load(run / "config.toml", settings)
    config = PRESETS[name].config(base)
    tokenizer, architecture = _vocabulary(store, config, run)
    torch.manual_seed(rng.torch_seed(config.train.seed, "initial weights"))
    encoder = Baseline(PRESETS[name], config, tokenizer.vocabulary, architecture)
    fill(encoder)
    count(encoder, tokenizer, store)
    return encoder, tokenizer


def _vocabulary(store: Store, config: Config, run: Path | None) -> tuple[TextTokenizer, dict[str, Any] | None]:
    if config.text.front == "pretrained":
        return open_checkpoint(config.text.checkpoint)
    if run is not None:
        return TextTokenizer.load(run / "tokenizer.json"), None
    return learn_tokenizer(store, config), None


def fill(encoder: Baseline) -> None:
    """Front ends whose weights come from elsewhere (as `k3m.model.load_pretrained`, of which a text model has one)."""
    text, image = encoder.config.text, encoder.config.image
    if isinstance(encoder.text_encoder, PretrainedEncoder):
        encoder.text_encoder.load(text.checkpoint)
    if encoder.preset.reads_images and isinstance(encoder.image_encoder.front, TowerFront) and image.weights:
        encoder.image_encoder.front.load(image.tower, image.weights)


def count(encoder: Baseline, tokenizer: TextTokenizer, store: Store) -> None:
    """What a store tells before any step: visual words, key relations."""
    config = encoder.config
    if encoder.preset.visual_words:
        assert isinstance(encoder.image_encoder.front, VisualWordFront)
        encoder.image_encoder.front.learn(store, config.image, config.train.seed)
    if encoder.preset.service:
        encoder.service.learn(store, tokenizer)


def pretrain(encoder: Baseline, tokenizer: TextTokenizer, store: Store, max_minutes: float = 0.0) -> int:
    """Train the objectives; the number of steps taken. The learning rate falls with the larger of the shares of steps
    and of minutes."""
    config, begun = encoder.config, monotonic()
    device = device_of(config.train.device)
    encoder.to(device).train()
    stream = WholeStream(store, config, tokenizer, Candidates.from_store(store))
    optimizer = torch.optim.AdamW(parameter_groups(encoder, config.optim), betas=config.optim.betas)
    each = -(-store.num_items // config.data.batch_size)
    steps = config.train.steps or config.train.epochs * each
    step = 0
    with tqdm(total=steps, desc="pretrain", unit="step") as bar:
        while step < steps:
            for batch in stream.training(step // each):
                share = max(step / steps, (monotonic() - begun) / 60 / max_minutes if max_minutes else 0.0)
                if share >= 1:
                    return step
                for group in optimizer.param_groups:
                    group["lr"] = config.optim.peak_lr * rate_at(share, 1 / steps, config.optim.warmup)
                torch.manual_seed(rng.torch_seed(config.train.seed, step, "dropout"))
                with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(config.train.precision, device)):
                    losses = {name: part.value for name, part in encoder.objectives(batch.to(device)).items()}
                    loss = torch.stack(list(losses.values())).sum()
                _descend(encoder, optimizer, loss, config.optim.clip, step)
                step += 1
                bar.update()
                bar.set_postfix({name: f"{value.item():.3f}" for name, value in losses.items()})
    return step


def _descend(encoder: Baseline, optimizer: torch.optim.Optimizer, loss: torch.Tensor, clip: float, step: int) -> None:
    if not isfinite(loss.item()):
        raise NonFiniteLoss(f"step {step}: the loss is {loss.item()}; the weights are those of step {step}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), clip)
    optimizer.step()


def save(directory: Path, name: str, encoder: Baseline, tokenizer: TextTokenizer, info: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(directory / "tokenizer.json")
    if encoder.architecture is not None:
        save_architecture(directory, encoder.architecture)
    (directory / "config.toml").write_text(encoder.config.to_toml(), encoding="utf-8")
    save_weights(encoder, directory / WEIGHTS)
    told = {"name": name, "task": "pretraining"} | info
    (directory / NAME).write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")


def load(directory: Path, name: str) -> tuple[Baseline, TextTokenizer, dict[str, Any]]:
    """What `save` wrote.

    Raises:
        ValueError: for a folder of another model.
    """
    info = json.loads((directory / NAME).read_text(encoding="utf-8"))
    if info["name"] != name or info["task"] != "pretraining":
        raise ValueError(f"{directory} holds {info['name']} ({info['task']}), not a pretrained {name}")
    tokenizer, config = TextTokenizer.load(directory / "tokenizer.json"), Config.load(directory / "config.toml")
    encoder = Baseline(PRESETS[name], config, tokenizer.vocabulary, load_architecture(directory))
    load_weights(encoder, directory / WEIGHTS)
    encoder.pretrained = True
    return encoder, tokenizer, info


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m k3m.baselines.pretraining")
    if (arguments.out / NAME).exists():
        raise ValueError(f"{arguments.out} holds a model already: name another folder")
    begun = monotonic()
    with graphstore.open(arguments.store) as store:
        encoder, tokenizer = fresh(arguments.model, store, arguments.run, arguments.set)
        steps = pretrain(encoder, tokenizer, store, arguments.max_minutes)
        info = {
            "store": store.location,
            "data_version": store.data_version,
            "steps": steps,
            "minutes": (monotonic() - begun) / 60,
            "properties": store.property_names() if encoder.preset.reads_triples else [],
        }
    save(arguments.out, arguments.model, encoder, tokenizer, info)
    print(f"{arguments.out}: {arguments.model}, {steps} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
