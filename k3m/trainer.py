"""The training loop: AdamW with warm-up over the three objectives, validation by link completion, checkpoints.

Nothing random is kept between steps: the batches, masks, negatives, dropout and Gumbel noise of a step follow from
(seed, step), so a resumed run takes the same steps as an undisturbed one.
"""

import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from graphstore import Store, StoreError
from k3m import ranks, rng
from k3m.batch import ProductBatch
from k3m.checkpoint import load_checkpoint, save_checkpoint, save_weights
from k3m.config import Config, OptimConfig, Precision
from k3m.interruption import Interruption
from k3m.losses import NonFiniteLoss
from k3m.model import K3M
from k3m.predictor import ModelPredictor
from k3m.streaming import Stream


@dataclass
class State:
    """The loop's variables, all of them: what a checkpoint holds beside weights and moments."""

    step: int = 0
    best_mrr: float = -1.0
    validated: int = 0
    """The step after which validation last ran."""


class Trainer:
    """One run on one store; `fit` trains it to its end.

    Args:
        directory: the run folder, which has its config and tokenizer already.
    """

    def __init__(self, model: K3M, stream: Stream, config: Config, directory: Path) -> None:
        self.model, self.stream, self.config, self.directory = model, stream, config, directory
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config.optim), betas=config.optim.betas, fused=True)
        self.bf16 = uses_bf16(config.train.precision)
        self.state, self.interruption = State(), Interruption()
        self.steps_per_epoch = -(-stream.store.num_items // config.data.batch_size)
        self.steps = config.train.steps or config.train.epochs * self.steps_per_epoch

    def resume(self) -> None:
        """Go on from the last checkpoint; lines of metrics.jsonl that are past it go, since their steps are taken
        again."""
        state = load_checkpoint(self.model, self.optimizer, self.directory / "checkpoint.safetensors")
        self.state = State(**state)  # type: ignore[arg-type]
        lines = self._metrics_file.read_text(encoding="utf-8").splitlines() if self._metrics_file.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.state.step]
        self._metrics_file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def fit(self) -> None:
        """Take the steps that are left. A stop by the keyboard or a scheduler, and a store that has gone, leave a
        checkpoint behind."""
        bar = tqdm(total=self.steps, initial=self.state.step, desc="train", unit="step", smoothing=0.05)
        try:
            # Its worker processes end here, whatever happens.
            with self.interruption, closing(self._batches()) as batches:
                self._validate_and_save()  # what a stop may have kept from happening
                for batch in batches:
                    self._take(batch, bar)
                    self._validate_and_save()
        except KeyboardInterrupt:
            self._save()
            raise SystemExit(f"stopped after step {self.state.step}: --resume goes on from there") from None
        except StoreError as error:  # gone, or changed by an ingest: resume refuses other data
            self._save()
            hint = "--resume goes on from there, if the data are the same"
            raise SystemExit(f"stopped after step {self.state.step} ({error}): {hint}") from None
        finally:
            bar.close()

    def _take(self, batch: ProductBatch, bar: tqdm) -> None:
        """One step, whole or not at all, with its line in the metrics."""
        with self.interruption.held():
            losses = self._train_step(batch)
            self.state.step += 1
            step = self.state.step
            bar.update()
            shown = {name: f"{value:.3f}" for name, value in losses.items()}
            bar.set_postfix(shown | {"items/s": f"{self._rate(bar):.0f}"})
            if step % self.config.train.log_every == 0 or step in (1, self.steps):
                hubs = {} if batch.hubs is None else {"hubs": batch.hubs}
                self._log(losses | hubs | {"items_per_second": self._rate(bar)})

    def _validate_and_save(self) -> None:
        """What is due after the step that was taken last."""
        step = self.state.step
        epoch_ends = step > 0 and (step % self.steps_per_epoch == 0 or step == self.steps)
        if epoch_ends and self.state.validated < step:
            self._validate()
        if epoch_ends or step % self.config.train.save_every == 0:
            self._save()

    def _rate(self, bar: tqdm) -> float:
        """Items a second since this process began, input, validation and all."""
        taken = self.state.step - bar.initial
        return taken * self.config.data.batch_size / max(time.time() - bar.start_t, 1e-9)

    def _batches(self) -> Generator[ProductBatch]:
        while self.state.step < self.steps:
            epoch, first = divmod(self.state.step, self.steps_per_epoch)
            for batch in self.stream.training(epoch, first):
                yield batch
                if self.state.step >= self.steps:
                    return

    def _train_step(self, batch: ProductBatch) -> dict[str, float]:
        """Raises NonFiniteLoss before the optimiser moves a weight."""
        config, step = self.config, self.state.step
        torch.manual_seed(rng.torch_seed(config.train.seed, step, "dropout"))
        self.model.train()
        self.model.anneal(step / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(step, self.steps, config.optim)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            losses = self.model.losses(batch)
        values = {name: loss.item() for name, loss in losses.items()}
        if not torch.isfinite(losses["loss"]):
            raise NonFiniteLoss(f"step {step}: {values}; the weights are those of step {step}")
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip)
        self.optimizer.step()
        return values

    def _validate(self) -> None:
        """Filtered MRR on a fixed draw of the triples of split 'valid'; the best weights so far are the run's."""
        mrr = self.valid_mrr()
        with self.interruption.held():
            if mrr is None or mrr > self.state.best_mrr:
                self.state.best_mrr = -1.0 if mrr is None else mrr
                save_weights(self.model, self.directory / "weights.safetensors")
            if mrr is not None:
                self._log({"valid_mrr": mrr})
                tqdm.write(f"step {self.state.step}: validation MRR {mrr:.4f} (best {self.state.best_mrr:.4f})")
            self.state.validated = self.state.step

    def valid_mrr(self) -> float | None:
        """None where validation is off or the store has no split 'valid'."""
        chosen, known = self._validation
        if chosen.empty:
            return None
        items = sorted(set(chosen["item"]))
        predictor = ModelPredictor.of(self.model, self.stream, items)
        found = ranks.rank_triples(predictor, chosen, known, self.stream.candidates)
        return ranks.link_metrics(found, chosen["property"].to_numpy())["mrr"]

    @cached_property
    def _validation(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The triples that validation ranks, and all that is known of their items: read once, and only that much
        kept."""
        store, config = self.stream.store, self.config.train
        splits = store.counts().splits
        places = rng.first(config.eval_triples, splits.get("valid", 0), config.seed, "valid")
        chosen = triples_at(store, "valid", places)
        items = pc.unique(chosen["item"]).to_pylist()
        known = store.triples_of(store.item_ords(items), (None, *splits))
        return chosen.to_pandas(), known.to_pandas()

    @property
    def _metrics_file(self) -> Path:
        return self.directory / "metrics.jsonl"

    def _log(self, values: dict[str, float]) -> None:
        line = {"step": self.state.step, "epoch": self.state.step / self.steps_per_epoch} | values
        with self._metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        save_checkpoint(self.model, self.optimizer, asdict(self.state), self.directory / "checkpoint.safetensors")


def triples_at(store: Store, split: str, places: NDArray[np.int64]) -> pa.Table:
    """The triples at these places of `store.triples((split,))`, in the order of the places, read block by block."""
    order = np.argsort(places)
    ascending, passed = places[order], 0
    found = [store.triples_of((), (split,))]
    for block in store.item_blocks() if len(places) else ():
        part = store.triples_of(block, (split,))
        first, end = np.searchsorted(ascending, (passed, passed + len(part)))
        found.append(part.take(ascending[first:end] - passed))
        passed += len(part)
    return pa.concat_tables(found).take(np.argsort(order))


def uses_bf16(precision: Precision) -> bool:
    """`auto` is bfloat16 where the processor multiplies in it: twice the speed there, many times slower elsewhere."""
    if precision == "auto":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return precision == "bfloat16"


def lr_at(step: int, steps: int, optim: OptimConfig) -> float:
    """Linear warm-up to the peak, then linear decay to 0 at the last step."""
    warmup = max(1, round(optim.warmup * steps))
    if step < warmup:
        return optim.peak_lr * (step + 1) / warmup
    return optim.peak_lr * (steps - step) / max(1, steps - warmup)


def parameter_groups(model: torch.nn.Module, optim: OptimConfig) -> list[dict[str, object]]:
    """Matrices with weight decay; vectors (biases, norms) without."""
    parameters = list(model.parameters())
    decayed = [parameter for parameter in parameters if parameter.dim() >= 2]
    plain = [parameter for parameter in parameters if parameter.dim() < 2]
    assert len(decayed) + len(plain) == len(parameters)
    return [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}]
