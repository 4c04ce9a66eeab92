"""From a store to `ProductBatch`es: the one place that puts sampler, features, tokenizer and batch maker together."""

from collections.abc import Collection, Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphstore import Store
from graphstore.pyg import StoreFeatures
from k3m.batch import BatchMaker
from k3m.candidates import Candidates
from k3m.config import Config
from k3m.front_ends import reader_of
from k3m.loading import BatchLoader, SubgraphLoader
from k3m.negatives import CandidateOrdinals
from k3m.processes import Processes
from k3m.rejections import Rejections
from k3m.sampler import TripleSampler
from k3m.seeds import SharedItems, ShuffledItems
from k3m.text import TextTokenizer


class Stream:
    """Batches of one store for one run's config and tokenizer; with `rejections`, those of training hold these too."""

    def __init__(
        self,
        store: Store,
        config: Config,
        tokenizer: TextTokenizer,
        candidates: Candidates | None = None,
        rejections: Rejections | None = None,
    ) -> None:
        self.store, self.config, self.tokenizer, self.processes = store, config, tokenizer, Processes()
        self.candidates = candidates or Candidates.from_store(store)
        self.rejected = None if rejections is None else rejections.ordinals(store, self.candidates)
        self.property_names = np.array(store.property_names(), dtype=object)
        self.reader = reader_of(config.image)
        self.features = StoreFeatures(store, ("title", "image", *config.visible.fields))

    def shared_by(self, processes: Processes) -> "Stream":
        """The same with each training batch shared between processes; this one's part is read here."""
        shared = copy(self)
        shared.processes = processes
        return shared

    def training(self, epoch: int, first_step: int = 0) -> BatchLoader:
        """The epoch's batches in its drawn order, from step `first_step` of the epoch on."""
        maker = self._maker(training=True, epoch=epoch)
        return BatchLoader(**self._loading(self._order(epoch, first_step), epoch, self._hide), make_batch=maker)

    def subgraphs(self, epoch: int, first_step: int = 0) -> SubgraphLoader:
        """The subgraphs of the same items, hidden triples and draws, with the features of every item in them."""
        return SubgraphLoader(**self._loading(self._order(epoch, first_step), epoch, self._hide))

    def evaluation(self, items: NDArray[np.int64], without: Collection[str] = (), named: bool = False) -> BatchLoader:
        """These items (ordinals) in this order, nothing masked, all of their training triples visible (to the
        fan-out); with `named`, beside their names."""
        maker = replace(self._maker(training=False, without=without), named=named)
        return BatchLoader(**self._loading(items, epoch=0, hide=0.0), make_batch=maker)

    @property
    def _hide(self) -> float:
        return 0.0 if self.config.loss.leave_one_out else self.config.loss.hide

    def _order(self, epoch: int, first_step: int) -> Iterable[int]:
        size, world = self.config.data.batch_size, self.processes.world
        start = first_step * size * world
        items = ShuffledItems(self.store.num_items, self.config.train.seed, epoch, "order", start=start)
        return items if world == 1 else SharedItems(items, size, self.processes.rank, world)

    def _maker(self, training: bool, epoch: int = 0, without: Collection[str] = ()) -> BatchMaker:
        table = self.candidates.table
        return BatchMaker(
            config=self.config,
            tokenizer=self.tokenizer,
            property_names=self.property_names,
            value_texts=np.unique(table["value"].to_numpy(dtype=object)),
            candidates=CandidateOrdinals.from_table(table),
            reader=self.reader,
            training=training,
            rejections=self.rejected,
            epoch=epoch,
            without=frozenset(without) | set(self.config.visible.without),
        )

    def _loading(self, items: Iterable[int], epoch: int, hide: float) -> dict[str, Any]:
        data, seed = self.config.data, self.config.train.seed
        sampler = TripleSampler(
            self.store,
            seed=seed,
            epoch=epoch,
            fan_out=data.fan_out,
            hide=hide,
            hub_limit=data.hub_limit,
            replace=data.replace,
            property_cap=data.property_cap,
        )
        return {
            "features": self.features,
            "sampler": sampler,
            "items": items,
            "batch_size": data.batch_size,
            # Whoever writes a Ladybug file keeps every other process out.
            "workers": data.workers if self.store.read_only else 0,
        }


def learn_tokenizer(store: Store, config: Config) -> TextTokenizer:
    """WordPiece over what training may see: titles, visible fields, and the properties and values of training
    triples."""
    return TextTokenizer.learn(_training_texts(store, config.visible.fields), config.text.vocabulary)


def _training_texts(store: Store, fields: tuple[str, ...]) -> Iterator[str]:
    """Some more than once."""
    counted = store.value_counts()
    for column in (counted["property"], counted["value"]):
        yield from pc.unique(column).to_pylist()
    yield from fields
    for block in store.item_blocks():
        for column in store.item_features(block, ("title", *fields)).values():
            yield from (str(text) for text in column if text is not None)
