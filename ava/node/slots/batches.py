"""The threads that execute statements for the event loop of a slot process.

One statement serves all requests that arrived during the last one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from ava.node.runs.run_writer import RunWriter

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_BATCH = 200


class Batches(threading.Thread, Generic[Item, Result]):
    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, writer: RunWriter) -> None:
        """`writer`: used by this thread only."""
        super().__init__(name=name, daemon=True)
        self._loop = loop
        self._writer = writer
        self._requests: queue.SimpleQueue[tuple[Item, asyncio.Future[Result]] | None] = queue.SimpleQueue()
        #: Whether a batch is being processed, or about to be.
        self._is_busy = False

    def request(self, item: Item) -> asyncio.Future[Result]:
        """Request the processing of an item, in the event loop. Returns the future result."""
        result: asyncio.Future[Result] = self._loop.create_future()
        self._requests.put((item, result))
        return result

    def close(self) -> None:
        """End the thread after it has processed its queue."""
        self._requests.put(None)
        # Not started if the consumer could not start.
        if self.ident is not None:
            self.join()
        self._writer.close()

    def await_idle(self, seconds: float) -> None:
        """Wait at most `seconds` until all requests are processed. Called by another thread."""
        deadline = time.monotonic() + seconds
        while (not self._requests.empty() or self._is_busy) and time.monotonic() < deadline:
            time.sleep(0.01)

    # The thread ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def process(self, items: Sequence[Item]) -> Sequence[Result]:
        """Process items. Returns the result of each, and raises nothing."""

    def run(self) -> None:
        has_ended = False
        while not has_ended:
            batch = [self._requests.get()]
            self._is_busy = True
            while batch[-1] is not None and len(batch) < _ITEMS_PER_BATCH and not self._requests.empty():
                batch.append(self._requests.get())
            has_ended = batch[-1] is None
            requests = [each for each in batch if each is not None]
            results = self.process([item for item, _ in requests])
            self._is_busy = False
            if requests:
                self._loop.call_soon_threadsafe(_deliver, requests, results)


def _deliver(requests: Sequence[tuple[Item, asyncio.Future[Result]]], results: Sequence[Result]) -> None:
    for (_, future), result in zip(requests, results, strict=True):
        # A handler may have cancelled the waiting task. Orphan detection then rescues a claimed run.
        if not future.done():
            future.set_result(result)
