"""SIGINT and SIGTERM between steps, never within one: half a step could not be resumed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, both signals raise KeyboardInterrupt, at once or, inside `held()`, at its end.

    Args:
        at_once: False: only at the end of what is held; processes that work together stop after the same step.

    Python drops an exception that falls into a destructor: what was raised in vain is raised again by the next
    `held()`.
    """

    def __init__(self, at_once: bool = True) -> None:
        self.at_once = at_once
        self._holding = self.pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self.pending = False
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self.pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pending = True
        if self.at_once and not self._holding:
            raise KeyboardInterrupt
