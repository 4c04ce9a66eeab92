"""Training beside an ingest: a run that streams from a live store waits until the ingest is done and goes on with the
data as they are then.

The tokenizer stays that of the run's beginning, values that are new have their pieces in it like any text. Candidates
and what may be asked are those of the new data. Which data versions a run saw, and from which step on, is written in
its run.json; a snapshot is the way to one fixed version.
"""

import time
from pathlib import Path

from tqdm import tqdm

from graphstore import IngestUnderWay, Store
from graphstore.neo4j_store import WAIT_SECONDS
from k3m import trained_items
from k3m.applicability import Applicability
from k3m.candidates import Candidates
from k3m.rejections import Rejections
from k3m.run_info import read_info, write_info
from k3m.streaming import Stream

_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds; the last one again and again."""


def wait_until_settled(store: Store, limit: float = WAIT_SECONDS) -> None:
    """Until no ingest is under way, with what was read of older data forgotten.

    Raises:
        IngestUnderWay: after `limit` seconds.
    """
    begun, turn = time.monotonic(), 0
    while True:
        store.catch_up()
        try:
            store.num_items  # noqa: B018  asks for the state
            return
        except IngestUnderWay as error:
            if time.monotonic() - begun > limit:
                raise
            if turn == 0:
                tqdm.write(f"{error}: waiting until it is done")
            time.sleep(_PAUSES[min(turn, len(_PAUSES) - 1)])
            turn += 1


class Following:
    """What the run in `directory` keeps of the data it follows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def caught_up(self, stream: Stream, step: int) -> Stream:
        """The stream over the data as they are now; the run folder says so."""
        store = stream.store
        wait_until_settled(store)
        candidates = Candidates.from_store(store)
        candidates.save(self.directory / "candidates.parquet")
        Applicability.from_store(store).save(self.directory / "applicability.parquet")
        trained_items.record(store, self.directory)
        rejections = Rejections.from_store(store) if stream.config.loss.rejected else None
        if rejections is not None:
            rejections.save(self.directory)
        version = store.data_version
        self.record(version, step)
        tqdm.write(f"step {step}: {store.location} was changed by an ingest: going on with data version {version}")
        return Stream(store, stream.config, stream.tokenizer, candidates, rejections).shared_by(stream.processes)

    def record(self, version: int | str, step: int) -> None:
        """That from this step on the data were of this version."""
        info = read_info(self.directory)
        seen = [*info["data_versions"], {"version": version, "from_step": step}]
        write_info(self.directory, info | {"data_version": version, "data_versions": seen})
