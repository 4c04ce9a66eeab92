"""A small residual network on the photograph alone: eight convolutions, one head for each property.

It learns from every training triple of an item that has a photograph, all properties together; flips and shifts are
its only augmentation. An item without a photograph, and a property that no photographed item has, get each value's
share in training.

Legend: N items of the store, B items of a batch, n items asked, C candidates of all properties, P properties, K
candidates of one property, h w pixels, F features.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from analysis import weights
from graphstore import Store
from k3m import rng
from k3m.candidates import Candidates


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of the network and its training."""

    channels: tuple[int, ...] = (32, 64, 128, 256)
    """Of each block of two convolutions; each halves height and width."""
    size: tuple[int, int] = (60, 80)
    """Width and height of what it sees, in pixels."""
    shift: int = 4
    """Pixels that a photograph is moved by at most, in training, each way."""
    epochs: int = 10
    """Passes over the photographed items."""
    batch_size: int = 128
    """Items."""
    lr: float = 2e-3
    """Highest learning rate of AdamW: reached after a tenth of the steps, 0 at the end."""
    weight_decay: float = 0.05
    """Of AdamW."""
    seed: int = 0
    """Of weights, order and augmentation."""


class Block(nn.Module):
    """Two convolutions beside a shortcut without weights: the mean of each 2 x 2 pixels, new channels 0."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.added = after - before
        self.first = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B d r s"]:
        """Half the height and width, rounded up."""
        inner = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        shortcut = functional.avg_pool2d(x, 2, ceil_mode=True)
        return functional.relu(inner + functional.pad(shortcut, (0, 0, 0, 0, 0, self.added)))


class Network(nn.Module):
    """Blocks, the mean over what is left of the picture, and a linear head of all candidates."""

    def __init__(self, channels: Sequence[int], shares: Float[Tensor, " C"]) -> None:
        """
        Args:
            shares: log of each candidate's share in training, where the heads begin.
        """
        super().__init__()
        self.blocks = nn.Sequential(*(Block(*ends) for ends in zip((3, *channels), channels, strict=False)))
        self.heads = nn.Linear(channels[-1], len(shares))
        nn.init.zeros_(self.heads.weight)
        self.heads.bias.data.copy_(shares)

    def features(self, pixels: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B F"]:
        """What the heads see."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return self.blocks(scaled.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))


class Cnn:
    """Fitted when it is made, or read from `cache`; a fit that was stopped goes on after its last whole epoch."""

    def __init__(
        self,
        store: Store,
        candidates: Candidates,
        settings: Settings = Settings(),
        cache: Path | None = None,
    ) -> None:
        self.candidates, self.settings, self._store = candidates, settings, store
        items = store.items(("image",)).to_pandas()
        self._rows = pd.Index(items["id"])
        self._keys = items["image"].to_numpy(dtype=object)
        self._pictured = items["image"].notna().to_numpy()
        training = store.triples().to_pandas()
        targets = _targets(training, self._rows, candidates)
        table = candidates.table
        self._property_of = torch.from_numpy(pd.factorize(table["property"])[0].astype(np.int64))
        share = table["count"] / table.groupby("property")["count"].transform("sum")
        self._shares = torch.tensor(np.log(share.to_numpy()), dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.torch_seed(settings.seed, "cnn"))
            self.network = Network(settings.channels, self._shares).to(memory_format=torch.channels_last)
        self._fit(targets, cache and cache / f"cnn-{weights.digest(settings, items, table, training)}.safetensors")
        self._features = np.zeros((len(items), settings.channels[-1]), dtype=np.float32)  # pages come when written
        self._ready = np.zeros(len(items), dtype=bool)

    def score(self, property: str, items: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Log-probabilities."""
        columns = torch.from_numpy(np.flatnonzero(self.candidates.table["property"] == property))
        rows = self._rows.get_indexer(pd.Index(items))
        pictured = self._pictured[rows]
        scores = self._shares[columns].double().repeat(len(items), 1)
        with torch.inference_mode():
            seen = torch.from_numpy(self._featured(rows[pictured]))
            heads = self.network.heads
            logits = functional.linear(seen, heads.weight[columns], heads.bias[columns])
            scores[torch.from_numpy(pictured)] = logits.double().log_softmax(dim=1)
        return scores.numpy()

    def _featured(self, rows: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n F"]:
        """Of photographed items; each is computed once."""
        missing = np.unique(rows[~self._ready[rows]])
        self.network.eval()
        for part in np.array_split(missing, math.ceil(len(missing) / self.settings.batch_size) or 1):
            if len(part):
                self._features[part] = self.network.features(self._pixels(part)).numpy()
        self._ready[missing] = True
        return self._features[rows]

    def _pixels(self, rows: Int64[np.ndarray, " B"]) -> UInt8[Tensor, "B h w 3"]:
        return torch.from_numpy(
            np.stack([_decoded(self._store.images.get(self._keys[row]), self.settings.size) for row in rows])
        )

    def _fit(self, targets: sparse.csr_matrix, path: Path | None) -> None:
        pictured = np.flatnonzero(self._pictured)
        learnt = pictured[targets[pictured].getnnz(axis=1) > 0]
        decayed = [weight for weight in self.network.parameters() if weight.ndim > 1]
        others = [weight for weight in self.network.parameters() if weight.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        )
        done = weights.load(path, self.network, optimizer) if path and path.exists() else 0
        epochs = range(done, self.settings.epochs if len(learnt) else 0)
        for epoch in tqdm(
            epochs, initial=done, total=self.settings.epochs, desc="cnn", unit="epoch", disable=not epochs
        ):
            self._epoch(epoch, learnt, targets, optimizer)
            if path:
                weights.save(path, self.network, optimizer, epoch + 1)
        self.network.eval()

    def _epoch(
        self, epoch: int, learnt: Int64[np.ndarray, " m"], targets: sparse.csr_matrix, optimizer: torch.optim.Optimizer
    ) -> None:
        """Once through the items, in an order and with shifts of this epoch alone."""
        self.network.train()
        size = self.settings.batch_size
        order = learnt[rng.order(len(learnt), self.settings.seed, epoch, "cnn")]
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        draws = torch.Generator().manual_seed(rng.torch_seed(self.settings.seed, epoch, "cnn"))
        for step, rows in enumerate(batches):
            progress = (epoch + step / len(batches)) / self.settings.epochs
            for group in optimizer.param_groups:
                group["lr"] = self.settings.lr * _cycle(progress)
            moved = shifted(self._pixels(rows), self.settings.shift, draws)
            logits = self.network.heads(self.network.features(moved))
            asked = targets[rows].tocoo()
            row, column = (torch.from_numpy(each.astype(np.int64)) for each in (asked.row, asked.col))
            loss = -log_softmax_by(logits, self._property_of)[row, column].mean()
            if not torch.isfinite(loss):
                raise FloatingPointError(f"cnn: the loss is {loss.item()} in epoch {epoch}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _targets(training: pd.DataFrame, items: pd.Index, candidates: Candidates) -> sparse.csr_matrix:
    """Which rows of `candidates.table` each item has, [N, C]."""
    pairs = pd.MultiIndex.from_frame(candidates.table[["property", "value"]])
    columns = pairs.get_indexer(pd.MultiIndex.from_frame(training[["property", "value"]]))
    ones = np.ones(len(training), dtype=np.float32)
    return sparse.csr_matrix((ones, (items.get_indexer(pd.Index(training["item"])), columns)), (len(items), len(pairs)))


def _decoded(data: bytes, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))


def _cycle(progress: float) -> float:
    """Share of the highest learning rate: up for a tenth, then down a cosine."""
    if progress < 0.1:
        return progress / 0.1
    return (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


def shifted(pixels: UInt8[Tensor, "B h w 3"], most: int, draws: torch.Generator) -> UInt8[Tensor, "B h w 3"]:
    """Each turned round left to right with probability a half and moved by up to `most` pixels each way; what comes in
    at an edge repeats the edge."""
    number, height, width, _ = pixels.shape
    down, right = torch.randint(-most, most + 1, (2, number), generator=draws)
    turned = torch.rand(number, generator=draws) < 0.5
    rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
    columns = torch.where(turned[:, None], columns.flip(1), columns)
    return pixels[torch.arange(number)[:, None, None], rows[:, :, None], columns[:, None, :]]


def log_softmax_by(logits: Float[Tensor, "B C"], group: Int64[Tensor, " C"]) -> Float[Tensor, "B C"]:
    """A log-softmax within each group of columns."""
    where = group.expand(len(logits), -1)
    num_groups = int(group.max()) + 1
    highest = logits.new_full((len(logits), num_groups), -math.inf).scatter_reduce(1, where, logits.detach(), "amax")
    above = logits - highest.gather(1, where)  # in each group the highest is 0: no overflow, and no log of 0
    total = above.new_zeros(len(logits), num_groups).scatter_add(1, where, above.exp())
    return above - total.log().gather(1, where)
