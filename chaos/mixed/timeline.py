"""Requests at set times, from a few threads. A client repeats each until the API decides."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from harness.system import HEADERS

_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 30.0


class Timeline:
    """Calls functions at their times. A function that raises is remembered in `broken`."""

    def __init__(self, threads: int) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running = 0
        self._changed = threading.Condition()
        self._is_ending = False
        self.broken: list[str] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def add(self, after_seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some seconds."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + after_seconds, next(self._numbers), call))
            self._changed.notify_all()

    def await_empty(self, seconds: float) -> None:
        """Wait until every call has ended. Raises `AssertionError` after some seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._due and not self._running, seconds), "requests are not over"

    def close(self) -> None:
        """End the threads, without the calls that are not due."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_TIMEOUT_SECONDS)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception as error:
                self.broken.append(f"{type(error).__name__}: {error}")
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next call; None at the end."""
        with self._changed:
            while not self._is_ending:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._running += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None


def insist(url: str, body: Any, *, has_ended: Callable[[], bool], **headers: str) -> requests.Response | None:
    """POST a body until the response has a status below 500. Return None once `has_ended` is true."""
    options: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    while not has_ended():
        try:
            response = requests.post(url, headers={**HEADERS, **headers}, timeout=_TIMEOUT_SECONDS, **options)
        except requests.RequestException:
            time.sleep(_PAUSE_SECONDS)
            continue
        if response.status_code < 500:
            return response
        time.sleep(_PAUSE_SECONDS)
    return None
