"""The dispatcher's process: one of any number that run is active, and does its duties in turn."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence

from ava import logs
from ava.broker.app import make_app
from ava.broker.publisher import Publisher
from ava.dispatcher.dead_nodes import DeadNodes
from ava.dispatcher.due import Due
from ava.dispatcher.duty import Duty
from ava.dispatcher.lost_messages import LostMessages
from ava.dispatcher.old_events import OldEvents
from ava.dispatcher.retention import Retention
from ava.dispatcher.statistics import Statistics
from ava.dispatcher.window import Feed
from ava.errors import BrokerUnavailable, DatabaseUnavailable
from ava.services import counters
from ava.settings import Settings
from ava.store import schema
from ava.store.database import Database
from ava.store.leader import Leadership

__all__ = ["Loop", "make_duties", "run"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at whose turn it is.
_TICK_SECONDS = 0.05
#: Seconds between two attempts to become the active one, or two checks that we still are.
_LEADERSHIP_SECONDS = 1.0
#: Seconds after which a duty that failed is tried again.
_PAUSE_SECONDS = 0.5


class Loop:
    """Does each duty when it is due, as long as this process is the active one."""

    def __init__(self, duties: Sequence[Duty], leadership: Leadership) -> None:
        self._duties = duties
        self._leadership = leadership
        self._next_at = {duty.name: 0.0 for duty in duties}
        self._failing: set[str] = set()
        self._is_active = False
        self._check_at = 0.0

    def run(self, is_ending: threading.Event) -> None:
        """Go on until told to end."""
        while not is_ending.is_set():
            now = time.monotonic()
            self._check_leadership(now)
            if self._is_active:
                for duty in self._duties:
                    if time.monotonic() >= self._next_at[duty.name]:
                        self._do(duty)
            is_ending.wait(_TICK_SECONDS if self._is_active else _LEADERSHIP_SECONDS)
        self._leadership.give_up()

    def _check_leadership(self, now: float) -> None:
        if now < self._check_at:
            return
        self._check_at = now + _LEADERSHIP_SECONDS
        was_active, self._is_active = self._is_active, self._leadership.hold()
        if self._is_active != was_active:
            _log.info("This dispatcher is active now." if self._is_active else "This dispatcher is active no more.")

    def _do(self, duty: Duty) -> None:
        try:
            with counters.DUTY_SECONDS.labels(duty.name).time():
                count = duty.run_once(time.monotonic())
            counters.DUTY_CHANGES.labels(duty.name).inc(count)
            self._next_at[duty.name] = time.monotonic() + duty.every_seconds
            if duty.name in self._failing:
                _log.warning("Duty %s works again.", duty.name)
                self._failing.discard(duty.name)
            if count:
                _log.info("Duty %s changed %d.", duty.name, count)
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            self._fail(duty, str(error))
        except Exception:
            _log.exception("Duty %s failed.", duty.name)
            self._fail(duty, "an error of its own")

    def _fail(self, duty: Duty, reason: str) -> None:
        self._next_at[duty.name] = time.monotonic() + _PAUSE_SECONDS
        counters.DUTY_FAILURES.labels(duty.name).inc()
        if duty.name not in self._failing:
            _log.warning("Duty %s cannot be done: %s", duty.name, reason)
            self._failing.add(duty.name)


def make_duties(settings: Settings, database: Database, publisher: Publisher) -> list[Duty]:
    """Every duty, in the order in which they are done."""
    return [
        Due(database),
        Feed(database, publisher, window=settings.window),
        DeadNodes(database, node_dead_seconds=settings.node_dead_seconds),
        LostMessages(database, publisher, node_dead_seconds=settings.node_dead_seconds),
        Retention(database, retention_days=settings.retention_days),
        OldEvents(database, retention_days=settings.webhook_retention_days),
        Statistics(database, audit_days=settings.audit_days),
    ]


def run(settings: Settings) -> None:
    """Run a dispatcher until SIGTERM or SIGINT. Raises `StartError` where the database is not ready for this code."""
    logs.configure(settings, "dispatcher")
    schema.check(settings)
    is_ending = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: is_ending.set())
    database = Database(settings.database_url, name="dispatcher", pool_size=1)
    publisher = Publisher(make_app(settings), settings)
    try:
        Loop(make_duties(settings, database, publisher), Leadership(settings.database_url)).run(is_ending)
    finally:
        publisher.close()
        database.close()
