"""From a store to `ProductBatch`es: the one place that puts sampler, features, tokenizer and batch maker together."""

from collections.abc import Collection

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from graphstore import Store
from graphstore.pyg import StoreFeatures, StoreGraph
from k3m import rng
from k3m.batch import BatchLoader, BatchMaker, CandidateOrdinals
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.sampler import TripleSampler
from k3m.text import TextTokenizer


class Stream:
    """Batches of one store for one run's config and tokenizer."""

    def __init__(
        self, store: Store, config: Config, tokenizer: TextTokenizer, candidates: Candidates | None = None
    ) -> None:
        self.store, self.config, self.tokenizer = store, config, tokenizer
        self.candidates = candidates or Candidates.from_store(store)
        self.property_names = np.array(store.property_names(), dtype=object)
        self.data = (StoreFeatures(store, ("title", "image", *config.visible.fields)), StoreGraph(store))

    def training(self, epoch: int, first_step: int = 0) -> BatchLoader:
        """The epoch's batches in its drawn order, from step `first_step` of the epoch on."""
        items = rng.order(self.store.num_items, self.config.train.seed, epoch, "order")
        maker = self._maker(training=True, epoch=epoch)
        return self._loader(
            items[first_step * self.config.data.batch_size :],
            maker,
            hide=0.0 if self.config.loss.leave_one_out else self.config.loss.hide,
        )

    def evaluation(self, items: NDArray[np.int64], without: Collection[str] = ()) -> BatchLoader:
        """These items (ordinals) in this order, nothing masked, all of their training triples visible (to the
        fan-out)."""
        return self._loader(items, self._maker(training=False, without=without), hide=0.0)

    def _maker(self, training: bool, epoch: int = 0, without: Collection[str] = ()) -> BatchMaker:
        table = self.candidates.table
        return BatchMaker(
            config=self.config,
            tokenizer=self.tokenizer,
            property_names=self.property_names,
            value_texts=np.unique(table["value"].to_numpy(dtype=object)),
            candidates=CandidateOrdinals.from_table(table),
            training=training,
            epoch=epoch,
            without=frozenset(without),
        )

    def _loader(self, items: NDArray[np.int64], maker: BatchMaker, hide: float) -> BatchLoader:
        sampler = TripleSampler(
            self.store, seed=self.config.train.seed, epoch=maker.epoch, fan_out=self.config.data.fan_out, hide=hide
        )
        workers = self.config.data.workers
        return BatchLoader(
            self.data,
            node_sampler=sampler,
            input_nodes=("item", torch.from_numpy(items)),
            batch_size=self.config.data.batch_size,
            num_workers=workers,
            # A store handle does not survive a fork: a worker starts afresh and opens its own.
            multiprocessing_context="spawn" if workers else None,
            make_batch=maker,
        )


def learn_tokenizer(store: Store, config: Config) -> TextTokenizer:
    """WordPiece over what training may see: titles, visible fields, and the properties and values of training
    triples."""
    items = store.items(("title", *config.visible.fields)).to_pandas().drop(columns="id")
    training: pd.DataFrame = store.triples().to_pandas()
    texts = [items[column].dropna().astype(str) for column in items]
    texts += [pd.Series(config.visible.fields, dtype=object), training["property"], training["value"]]
    return TextTokenizer.learn(pd.concat(texts), config.data.vocabulary)
