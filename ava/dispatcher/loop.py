"""The dispatcher's loop: repeat each duty at its own interval. Any number of dispatchers run; one is active."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from ava.errors import BrokerUnavailable, DatabaseUnavailable
from ava.metrics import counters
from ava.store.engine.leader_lease import RENEWAL_SECONDS, LeaderLease
from ava.store.engine.scan_rest import Rest
from ava.store.pending_work import Work

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_ENDING_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class Duty:
    """Periodic work of the active dispatcher, one row of the table in `ava.dispatcher.dispatcher_process`.

    Idempotent, because two dispatchers may run it simultaneously, and bounded: one batch per call. The loop elects the
    leader, and repeats, retries, logs and measures duties.
    """

    #: The name in logs and metrics.
    name: str
    #: Seconds until the next call, unless the duty is woken; a function if they vary.
    every_seconds: float | Callable[[], float]
    #: Unit of the count that `run_once` returns, for log lines, such as "jobs published".
    changes: str
    #: Does the work once and returns the number of changes. The argument is the loop's monotonic clock, in seconds.
    #: Raises `DatabaseUnavailable` or `BrokerUnavailable` if the work cannot be done now; nothing is then half-done.
    run_once: Callable[[float], int]
    _: KW_ONLY
    #: Kind of work that makes the probe wake the duty.
    work: Work | None = None
    #: Called after each call of `run_once` that has changed something, and after each outage: it may have lost only the
    #: response of a commit.
    on_change: Callable[[], None] = lambda: None
    #: Maximum rest in seconds after slow calls that change nothing (`ava.store.engine.scan_rest`); 0: no rest.
    max_rest_seconds: float = 0.0
    #: Returns the maximum seconds until the next call, regardless of rest, because something will then be found.
    max_wait_seconds: Callable[[], float] = lambda: float("inf")
    #: Whether dispatchers on standby run it too.
    is_on_standby: bool = False
    #: Waits until the next call, for at most the given seconds; None: wait for `wake`.
    wait_for_next: Callable[[float], None] | None = None
    _is_woken: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def period_seconds(self) -> float:
        return self.every_seconds() if callable(self.every_seconds) else self.every_seconds

    def wait(self, seconds: float) -> None:
        if self.wait_for_next is not None:
            self.wait_for_next(seconds)
        else:
            self._is_woken.wait(seconds)
            self._is_woken.clear()

    def wake(self) -> None:
        """End the wait, because there is work or the process stops. Thread-safe."""
        self._is_woken.set()


class DutyLoop:
    """Runs each duty when it is due, while this process is the active dispatcher.

    Each duty has its own thread, so that a slow or failing duty delays no other.
    """

    def __init__(self, duties: Sequence[Duty], leadership: LeaderLease) -> None:
        self._leadership = leadership
        self._duties = duties
        self._is_active = threading.Event()
        self._is_ending = threading.Event()
        always = threading.Event()
        always.set()
        self._threads = [
            DutyThread(duty, always, self._is_ending)
            if duty.is_on_standby
            else DutyThread(duty, self._is_active, self._is_ending, leadership.may_act)
            for duty in duties
        ]

    def run(self, is_ending: threading.Event) -> None:
        for thread in self._threads:
            thread.start()
        while not is_ending.is_set():
            self._check_leadership()
            is_ending.wait(RENEWAL_SECONDS)
        self._is_ending.set()
        for duty in self._duties:
            duty.wake()
        deadline = time.monotonic() + _ENDING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._leadership.release()

    def _check_leadership(self) -> None:
        was_active, is_active = self._is_active.is_set(), self._leadership.acquire()
        if is_active and not was_active:
            self._is_active.set()
            _log.info("This dispatcher is active now.")
        elif was_active and not is_active:
            # A running duty finishes, possibly concurrently with the next active dispatcher: every duty is idempotent.
            self._is_active.clear()
            _log.info("This dispatcher is no longer active.")


class DutyThread(threading.Thread):
    def __init__(
        self,
        duty: Duty,
        is_active: threading.Event,
        is_ending: threading.Event,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name=f"ava-{duty.name}", daemon=True)
        self._duty = duty
        self._is_active = is_active
        self._is_ending = is_ending
        self._may_act = may_act
        self._is_failing = False
        self._rest = Rest(duty.max_rest_seconds)

    def run(self) -> None:
        while not self._is_ending.is_set():
            if self._is_active.wait(_RETRY_SECONDS):
                if not self._may_act():
                    # The process was frozen, or the database does not respond and `acquire` has not returned yet.
                    self._is_ending.wait(_RETRY_SECONDS)
                    continue
                self._duty.wait(self.run_duty())

    def run_duty(self) -> float:
        """Run the duty once. Returns the seconds until it is due again."""
        duty, began_at = self._duty, time.monotonic()
        try:
            with counters.DUTY_SECONDS.labels(duty.name).time():
                count = duty.run_once(began_at)
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            duty.on_change()
            return self._fail(str(error))
        except Exception:
            _log.exception("Duty %s: unexpected error", duty.name)
            return self._fail("unexpected error")
        counters.DUTY_CHANGES.labels(duty.name).inc(count)
        if self._is_failing:
            _log.warning("Duty %s: succeeded again", duty.name)
            self._is_failing = False
        if count:
            _log.info("Duty %s: %d %s", duty.name, count, duty.changes)
            duty.on_change()
        rest_seconds = self._rest.after(time.monotonic() - began_at)
        period_seconds = duty.period_seconds()
        seconds = period_seconds if count else max(period_seconds, rest_seconds)
        return min(seconds, duty.max_wait_seconds())

    def _fail(self, reason: str) -> float:
        counters.DUTY_FAILURES.labels(self._duty.name).inc()
        if not self._is_failing:
            _log.warning("Duty %s: failed, will retry: %s", self._duty.name, reason)
            self._is_failing = True
        return _RETRY_SECONDS
