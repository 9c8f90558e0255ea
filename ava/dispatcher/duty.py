"""What the dispatcher's duties have in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable


class Duty(ABC):
    """Work that the active dispatcher repeats.

    It is idempotent, because two dispatchers may run it in the same moment, and bounded: one batch a call. Its SQL is a
    function of `ava.store`, and its settings are arguments that `make_duties` passes. Leader election, threads,
    retries, logs and metrics are in the loop.
    """

    #: The name in logs and metrics.
    name: str
    #: What `run_once` counts, as in "jobs published"; the log of the duty's changes says it.
    changes: str
    #: The most seconds for which it rests after slow calls that change nothing: see `ava.store.engine.rest`. By default
    #: it does not rest.
    max_rest_seconds: float = 0.0

    def __init__(self) -> None:
        #: Called after each call of `run_once` that has changed something.
        self.on_change: Callable[[], None] = lambda: None
        self._is_woken = threading.Event()

    @property
    @abstractmethod
    def every_seconds(self) -> float:
        """Returns the seconds until the next call, unless the duty is woken."""

    @abstractmethod
    def run_once(self, now: float) -> int:
        """Do the work once. Returns the number of changes. `now` is the loop's monotonic clock, in seconds.

        Raises `DatabaseUnavailable` or `BrokerUnavailable` if it cannot be done now; nothing is then half-done.
        """

    def wait(self, seconds: float) -> None:
        """Wait until the next call is due: so long at most, or until the duty is woken."""
        self._is_woken.wait(seconds)
        self._is_woken.clear()

    def wake(self) -> None:
        """End the wait, because there is something to do, or because the process stops. Any thread may call it."""
        self._is_woken.set()
