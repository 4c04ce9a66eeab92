"""What a store that is only read has in common: it refuses every write."""

from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import NoReturn

import pyarrow as pa

from graphstore.predictions import AppliedReport, PredictionReport, Verdict
from graphstore.store import IngestReport, Store, Vectors


class ReadOnly(Store):
    """A store whose writes end in `_refuse_write`."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "r")

    @abstractmethod
    def _refuse_write(self) -> NoReturn:
        """Raises ReadOnlyStore, with what to do instead."""

    def _ingest(self, items: pa.Table, triples: pa.Table, properties: pa.Table | None, prune: bool) -> IngestReport:
        self._refuse_write()

    def _write_predictions(self, rows: pa.Table, run: str, model: str, created: datetime) -> PredictionReport:
        self._refuse_write()

    def _review(self, proposals: pa.Table, verdict: Verdict) -> int:
        self._refuse_write()

    def _withdraw(self, proposals: pa.Table) -> int:
        self._refuse_write()

    def _apply_reviews(self) -> AppliedReport:
        self._refuse_write()

    def _write_embeddings(self, parts: Iterable[Vectors], run: str, model: str, version: str) -> int:
        self._refuse_write()
