"""Link prediction as its literature does it: heads and tails told from all entities, other true triples filtered out.

A folder with `train.txt`, `valid.txt` and `test.txt` (head, relation, tail by tabs: CoDEx, FB15k-237), or with
`*train.tsv`, `*dev.tsv` and `*test.tsv` as OpenBG-IMG has them, whose published test lines have no tail: `dev` is then
the split that is ranked, and what is chosen is chosen on a fixed half of it.

Legend: n triples, N entities.
"""

import json
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor
from tqdm import tqdm

from analysis import table
from analysis.embeddings import Embedding, Settings
from analysis.table import Row
from k3m import rng
from k3m.ranks import filtered_ranks

_COLUMNS = ["head", "relation", "tail"]
_NAMES = {"train": ("train.txt", "*train.tsv"), "valid": ("valid.txt", "*dev.tsv"), "test": ("test.txt", "*test.tsv")}
_CELLS_AT_ONCE = 2**22  # bounds the scores of one call


@dataclass(frozen=True)
class Benchmark:
    """Triples by index."""

    train: Int64[Tensor, "n 3"]
    valid: Int64[Tensor, "n 3"]
    """To choose by."""
    test: Int64[Tensor, "n 3"]
    """To rank once."""
    num_entities: int
    num_relations: int

    @classmethod
    def read(cls, folder: Path) -> "Benchmark":
        """
        Raises:
            FileNotFoundError: naming what is missing.
            ValueError: naming a file and a line that has not three cells, or a split without triples.
        """
        tables = {split: _table(folder, split) for split in _NAMES}
        if tables["test"].empty:  # OpenBG-IMG keeps its answers
            selects = rng.uniform(np.full(len(tables["valid"]), rng.key("dev")), np.arange(len(tables["valid"]))) < 0.5
            tables |= {"valid": tables["valid"][selects], "test": tables["valid"][~selects]}
        for split, triples in tables.items():
            if triples.empty:
                raise ValueError(f"{folder}: split {split} has no triples")
        every = pd.concat(tables.values())
        entities = pd.Index(np.unique(every[["head", "tail"]].to_numpy(dtype=str)))
        relations = pd.Index(np.unique(every["relation"].to_numpy(dtype=str)))

        def indexed(triples: pd.DataFrame) -> Int64[Tensor, "n 3"]:
            columns = [entities, relations, entities]
            found = [index.get_indexer(triples[name]) for index, name in zip(columns, _COLUMNS, strict=True)]
            return torch.from_numpy(np.stack(found, axis=1).astype(np.int64))

        train, valid, test = (indexed(tables[split]) for split in _NAMES)
        return cls(train, valid, test, len(entities), len(relations))

    def embedding(self, settings: Settings, seed: int = 0) -> Embedding:
        """Untrained."""
        return Embedding(settings, self.train, self.num_entities, self.num_relations, seed)

    @torch.inference_mode()
    def ranks(self, embedding: Embedding, asked: Int64[Tensor, "n 3"]) -> Float64[np.ndarray, " m"]:
        """Filtered ranks, ties by their mean: of all heads, then of all tails (m = 2 n)."""
        embedding.model.eval()
        found = []
        for heads in (True, False):
            # (what is given, relation, what is asked)
            turned, true = (each[:, [2, 1, 0]] if heads else each for each in (asked, self._all()))
            known = self._known(true)
            score = embedding.score_heads if heads else embedding.score_tails
            for part in turned.split(max(1, _CELLS_AT_ONCE // self.num_entities)):
                others = known[self._row(part)].toarray() > 0
                found.append(filtered_ranks(score(part[:, :2]).double().numpy(), part[:, 2].numpy(), others))
        return np.concatenate(found)

    def _all(self) -> Int64[Tensor, "n 3"]:
        return torch.cat([self.train, self.valid, self.test])

    def _row(self, triples: Int64[Tensor, "n 3"]) -> Int64[np.ndarray, " n"]:
        return (triples[:, 0] * self.num_relations + triples[:, 1]).numpy()

    def _known(self, triples: Int64[Tensor, "n 3"]) -> sparse.csr_matrix:
        """Of each pair of what is given and relation, what is true of it."""
        shape = (self.num_entities * self.num_relations, self.num_entities)
        ones = np.ones(len(triples), dtype=np.int8)
        return sparse.csr_matrix((ones, (self._row(triples), triples[:, 2].numpy())), shape)


def _table(folder: Path, split: str) -> pd.DataFrame:
    """Distinct triples; of a test file without tails, none."""
    found = [path for pattern in _NAMES[split] for path in sorted(folder.glob(pattern))]
    if len(found) != 1:
        wanted = " or ".join(_NAMES[split])
        raise FileNotFoundError(f"{folder}: expected one file {wanted}, got {', '.join(map(str, found)) or 'none'}")
    with found[0].open(encoding="utf-8") as lines:
        cells = [line.rstrip("\n").split("\t") for line in lines]
    if split == "test" and cells and all(len(each) == 2 for each in cells):
        return pd.DataFrame(columns=_COLUMNS)
    for number, each in enumerate(cells, start=1):
        if len(each) != 3:
            raise ValueError(f"{found[0]}, line {number}: expected head, relation and tail, got {len(each)} cells")
    return pd.DataFrame(cells, columns=_COLUMNS).drop_duplicates(ignore_index=True)


def figures(ranks: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """MRR and Hits@k over all ranks."""
    return {"mrr": float((1 / ranks).mean())} | {f"hits_at_{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}


@dataclass(frozen=True)
class Plan:
    """A model of a settings file."""

    settings: Settings
    epochs: int = 100
    check: int = 5
    patience: int = 3
    seed: int = 0

    @classmethod
    def load(cls, path: Path) -> dict[str, "Plan"]:
        """By name.

        Raises:
            ValueError: naming the file and the key that is not known.
        """
        plans = {}
        for name, values in tomllib.loads(path.read_text(encoding="utf-8")).items():
            try:
                plans[name] = cls(**(values | {"settings": Settings(**values.get("settings", {}))}))
            except (TypeError, ValueError) as error:  # a dataclass names the unknown key
                raise ValueError(f"{path}: {name}: {error}") from None
        return plans


@dataclass(frozen=True)
class Look:
    """At `valid`, in a training on a folder of triples."""

    epoch: int
    minutes: float
    mrr: float


def trained(plan: Plan, benchmark: Benchmark, folder: Path) -> tuple[Embedding, list[Look]]:
    """To the end, or to `patience` looks without a better one; the best weights."""
    folder.mkdir(parents=True, exist_ok=True)
    embedding = benchmark.embedding(plan.settings, plan.seed)
    log, last, best = folder / "looks.json", folder / "last.safetensors", folder / "best.safetensors"
    looks = [Look(**look) for look in json.loads(log.read_text())] if log.exists() else []
    if looks:
        embedding.load(last)
    bar = tqdm(total=plan.epochs, initial=embedding.epoch, desc=folder.name, unit="epoch")
    while embedding.epoch < plan.epochs and not _waited(looks, plan.patience):
        begun = time.monotonic()
        for _ in range(min(plan.check, plan.epochs - embedding.epoch)):
            embedding.train_epoch()
            bar.update()
        mrr = figures(benchmark.ranks(embedding, benchmark.valid))["mrr"]
        spent = (time.monotonic() - begun) / 60 + (looks[-1].minutes if looks else 0.0)
        if mrr > max((look.mrr for look in looks), default=0.0):
            embedding.save(best)
        looks.append(Look(embedding.epoch, spent, mrr))
        bar.set_postfix(valid=f"{mrr:.4f}")
        embedding.save(last)
        log.write_text(json.dumps([look.__dict__ for look in looks]) + "\n", encoding="utf-8")
    bar.close()
    embedding.load(best)
    return embedding, looks


def _waited(looks: list[Look], patience: int) -> bool:
    rates = [look.mrr for look in looks]
    return len(rates) > patience and max(rates[-patience:]) <= max(rates[:-patience])


def run(folder: Path, settings: Path, out: Path) -> None:
    """Whatever is not done yet; "not run" where the data are not there."""
    plans = Plan.load(settings)
    try:
        benchmark = Benchmark.read(folder)
    except FileNotFoundError as error:
        for name in plans:
            Row(model=name, note=str(error)).write(out / name.lower())
        return
    for name, plan in plans.items():
        place = out / name.lower()
        if (place / table.ROW).exists() and not Row.read(place).note:
            continue
        embedding, looks = trained(plan, benchmark, place)
        test = figures(benchmark.ranks(embedding, benchmark.test))
        best = plan.settings.changed() | {"epochs": embedding.epoch}
        row = Row(model=name, minutes=looks[-1].minutes, trials=1, settings=best, figures={"test": test})
        row.write(place)
