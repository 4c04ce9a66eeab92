"""The training loop: AdamW with warm-up over the objectives, validation by link completion, checkpoints; in one process
or in as many as torchrun started.

Nothing random is kept between steps: the batches, masks, negatives, dropout and Gumbel noise of a step follow from
(seed, step), so a resumed run takes the same steps as an undisturbed one.
"""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from graphstore import StoreError
from k3m import rng
from k3m.batch import ProductBatch
from k3m.checkpoint import load_checkpoint, save_checkpoint, save_weights
from k3m.config import Config
from k3m.following import Following
from k3m.health import warnings_of, write_picture
from k3m.interruption import Interruption
from k3m.losses import NonFiniteLoss
from k3m.metrics import Metrics
from k3m.model import K3M, Objectives, weighted
from k3m.optimisation import device_of, lr_at, parameter_groups, uses_bf16
from k3m.processes import Processes
from k3m.streaming import Stream
from k3m.validation import Validation


@dataclass
class State:
    """The loop's variables, all of them: what a checkpoint holds beside weights and moments."""

    step: int = 0
    best_mrr: float = -1.0
    validated: int = 0
    """The step after which validation last ran."""
    worse: int = 0
    """Validations since the best one."""


class Trainer:
    """One run on one store; `fit` trains it to its end.

    Args:
        directory: the run folder, which has its config and tokenizer already.
        processes: those that share the work.
    """

    def __init__(
        self, model: K3M, stream: Stream, config: Config, directory: Path, processes: Processes | None = None
    ) -> None:
        self.config, self.directory = config, directory
        self.device = device_of(config.train.device)
        self.processes = processes or Processes()
        self.model, self.stream = model.to(self.device), stream.shared_by(self.processes)
        whole = Objectives(self.model)
        alone = self.processes.world == 1
        self.objectives = whole if alone else DistributedDataParallel(whole, find_unused_parameters=True)
        groups = parameter_groups(model, config.optim)
        self.optimizer = torch.optim.AdamW(groups, betas=config.optim.betas, fused=True)
        self.bf16 = uses_bf16(config.train.precision, self.device)
        self.state, self.metrics = State(), Metrics(directory)
        self.interruption = Interruption(at_once=alone)
        self.following = Following(directory)
        self._validation: Validation | None = None
        self.steps = config.train.steps or config.train.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """By the number of items that the store has now."""
        return -(-self.stream.store.num_items // (self.config.data.batch_size * self.processes.world))

    def resume(self) -> None:
        """Go on from the last checkpoint."""
        state = load_checkpoint(self.model, self.optimizer, self.directory / "checkpoint.safetensors")
        self.state = State(**state)  # type: ignore[arg-type]
        if self.processes.first:
            self.metrics.cut_after(self.state.step)

    def begin_warm(self) -> None:
        """With the weights that the model has: they are validated, and stay the run's where no others do better; a
        checkpoint has them from now on."""
        self._validate()
        self._save()

    def fit(self, max_minutes: float = 0.0) -> None:
        """Take the steps that are left, or those that `max_minutes` (0: no limit) have room for. A stop by the keyboard
        or a scheduler, and a store that has gone, leave a checkpoint behind.

        An ingest into a live store is waited for; training then goes on with the data as they are.
        """
        self._begun = self.state.step, time.time()
        deadline = monotonic() + 60 * max_minutes if max_minutes else float("inf")
        quiet = not self.processes.first
        bar = tqdm(total=self.steps, initial=self.state.step, desc="train", unit="step", smoothing=0.05, disable=quiet)
        try:
            with self.interruption:
                while not self._ended(deadline):
                    self._stream_on(bar, deadline)
                self._finish()
        except KeyboardInterrupt:
            self._save()
            raise SystemExit(f"stopped after step {self.state.step}: --resume goes on from there") from None
        except StoreError as error:
            self._save()
            hint = "--resume goes on from there, if the data are the same"
            raise SystemExit(f"stopped after step {self.state.step} ({error}): {hint}") from None
        finally:
            bar.close()

    def _stream_on(self, bar: tqdm, deadline: float) -> None:
        """Until the end, or until the store's data change under the batches."""
        try:
            with closing(self._batches()) as batches:  # its worker processes end here, whatever happens
                self._validate_and_save()  # what a stop may have kept from happening
                for batch in batches:
                    self._take(batch, bar)
                    self._validate_and_save()
                    if self._ended(deadline):
                        return
        except StoreError:
            if not self.stream.store.changed():
                raise
            self.catch_up()

    def catch_up(self) -> None:
        """Go on with the store's data as they are now, once no ingest is under way. An MRR on other triples compares
        with none from now on: the next validation's weights are the run's, until others do better."""
        self.stream = self.following.caught_up(self.stream, self.state.step)
        self._validation = None
        self.state.best_mrr, self.state.worse = -1.0, 0
        self._log({"ingest": 1.0})

    @property
    def done(self) -> bool:
        """Whether no step is left to take."""
        return self.state.step >= self.steps or 0 < self.config.train.patience <= self.state.worse

    def _ended(self, deadline: float) -> bool:
        late = self.processes.from_first(float(monotonic() > deadline)) > 0
        return late or self.done

    def _finish(self) -> None:
        """What is due however the run ended."""
        if self.state.validated < self.state.step:
            self._validate()
        self._save()
        lines = self.metrics.lines() if self.processes.first else []
        if lines:
            write_picture(lines, self.directory / "health.svg")
        for warning in warnings_of(lines):
            tqdm.write(f"warning: {warning}")

    def _take(self, batch: ProductBatch, bar: tqdm) -> None:
        """One step, whole or not at all, with its line in the metrics."""
        with self.interruption.held():
            values = self._train_step(batch)
            self.state.step += 1
            step = self.state.step
            bar.update()
            shown = {name: f"{value:.3f}" for name, value in values.items() if "_" not in name}
            bar.set_postfix(shown | {"items/s": f"{self._rate:.0f}"})
            if step % self.config.train.log_every == 0 or step in (1, self.steps):
                hubs = {} if batch.hubs is None else {"hubs": batch.hubs}
                self._log(values | hubs | {"items_per_second": self._rate})

    def _validate_and_save(self) -> None:
        """What is due after the step that was taken last."""
        step = self.state.step
        epoch_ends = step > 0 and (step % self.steps_per_epoch == 0 or step == self.steps)
        if epoch_ends and self.state.validated < step:
            self._validate()
        if epoch_ends or step % self.config.train.save_every == 0:
            self._save()

    @property
    def _rate(self) -> float:
        """Items a second since this process began, input, validation and all."""
        step, second = self._begun
        items = (self.state.step - step) * self.config.data.batch_size * self.processes.world
        return items / max(time.time() - second, 1e-9)

    def _batches(self) -> Generator[ProductBatch]:
        while self.state.step < self.steps:
            epoch, first = divmod(self.state.step, self.steps_per_epoch)
            for batch in self.stream.training(epoch, first):
                yield batch.to(self.device)
                if self.state.step >= self.steps:
                    return

    def _train_step(self, batch: ProductBatch) -> dict[str, float]:
        """Raises NonFiniteLoss before the optimiser moves a weight."""
        config, step = self.config, self.state.step
        noise = ("dropout", self.processes.rank) if self.processes.rank else ("dropout",)
        torch.manual_seed(rng.torch_seed(config.train.seed, step, *noise))
        self.model.train()
        self.model.anneal(step / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(step, self.steps, config.optim)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses, values = self._shared(*self.objectives(batch))
        if not isfinite(values["loss"]):
            raise NonFiniteLoss(f"step {step}: {values}; the weights are those of step {step}")
        health = self._health(losses, batch) if step % config.train.health_every == 0 else {}
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip)
        self.optimizer.step()
        return values | health

    def _shared(self, totals: dict[str, Tensor], counts: dict[str, int]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Losses to go back through, and their values over all processes: sums divided by the count of all together.
        Gradients are averaged over processes afterwards, which the factor `world` makes a sum."""
        own = [*counts.values(), *(total.item() for total in totals.values()), float(self.interruption.pending)]
        *found, stopped = self.processes.sum(torch.tensor(own, dtype=torch.float64)).tolist()
        if stopped:  # one of them: all stop after this step
            self.interruption.pending = True
        every = {name: max(count, 1.0) for name, count in zip(totals, found[: len(totals)], strict=True)}
        sums = dict(zip(totals, found[len(totals) :], strict=True))
        losses = {name: total * self.processes.world / every[name] for name, total in totals.items()}
        values = {name: sums[name] / every[name] for name in totals}
        return weighted(losses, self.config), weighted(values, self.config)

    def _health(self, losses: dict[str, Tensor], batch: ProductBatch) -> dict[str, float]:
        """Norms of the objectives' weighted gradients, how often IFFM's gates take the modality alone, what MOM has to
        beat."""
        found = {f"alone_{name}": fusion.share_alone for name, fusion in self.model.fusions.items()}
        shares = {name: share.item() for name, share in found.items() if share is not None}
        floor = self.model.object_floor(batch)
        return self._gradients(losses) | shares | ({} if floor is None else {"mom_floor": floor})

    def _gradients(self, losses: dict[str, Tensor]) -> dict[str, float]:
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        norms = {}
        for name in ("lpm", "mlm", "mom"):
            share = getattr(self.config.loss, name) * losses[name]
            parts = torch.autograd.grad(share, weights, retain_graph=True, allow_unused=True)
            squares = [part.float().square().sum() for part in parts if part is not None]
            norms[f"gradient_{name}"] = sum(squares, torch.tensor(0.0, device=self.device)).sqrt().item()
        return norms

    def _validate(self) -> None:
        """The best weights so far are the run's."""
        mrr = self.valid_mrr()
        with self.interruption.held():
            if mrr is None or mrr > self.state.best_mrr:
                self.state.best_mrr, self.state.worse = -1.0 if mrr is None else mrr, 0
                if self.processes.first:
                    save_weights(self.model, self.directory / "weights.safetensors")
            else:
                self.state.worse += 1
            if mrr is not None:
                self._log({"valid_mrr": mrr})
                self._say(f"step {self.state.step}: validation MRR {mrr:.4f} (best {self.state.best_mrr:.4f})")
            self.state.validated = self.state.step

    def valid_mrr(self) -> float | None:
        """None where validation is off or the store has no split 'valid'."""
        mrr = self._first_mrr() if self.processes.first else None
        found = self.processes.from_first(-1.0 if mrr is None else mrr)
        return None if found < 0 else found

    def _first_mrr(self) -> float | None:
        if self._validation is None:
            self._validation = Validation.of(self.stream.store, self.config.train)
        return self._validation.mrr(self.model, self.stream)

    def _say(self, text: str) -> None:
        if self.processes.first:
            tqdm.write(text)

    def _log(self, values: dict[str, float]) -> None:
        if self.processes.first:
            self.metrics.log(self.state.step, self.state.step / self.steps_per_epoch, values)

    def _save(self) -> None:
        if self.processes.first:
            save_checkpoint(self.model, self.optimizer, asdict(self.state), self.directory / "checkpoint.safetensors")
