"""Whether a process can do its work: its database, its schema and its broker, each with the reason where not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ava.broker import connectivity
from ava.errors import AvaError, BrokerUnavailable, StartError
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.engine.database import Database

__all__ = ["Check", "Readiness", "Report"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    #: `database`, `migrations` or `broker`.
    name: str
    is_ok: bool
    #: What is wrong, in a sentence that holds no address and no password.
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was looked at."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> str:
        """`ok`; `degraded` where only the broker is away; else `unavailable`."""
        broken = {check.name for check in self.checks if not check.is_ok}
        if not broken:
            return "ok"
        return "degraded" if broken == {"broker"} else "unavailable"


class Readiness:
    """The checks of one process; however often they are asked for, they are made at most once in a second."""

    believed_seconds = 1.0

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._made_at = float("-inf")

    def report(self) -> Report:
        """Look, or tell what was seen a moment ago."""
        with self._lock:
            if self._report is None or time.monotonic() - self._made_at > self.believed_seconds:
                self._report = Report(checks=(*self._of_database(), _check("broker", self._reach_broker)))
                self._made_at = time.monotonic()
            return self._report

    def _of_database(self) -> tuple[Check, Check]:
        database = _check("database", self._reach_database)
        if not database.is_ok:
            return database, Check(name="migrations", is_ok=False, reason="The database could not be asked.")
        return database, _check("migrations", self._check_schema)

    def _reach_database(self) -> None:
        with self._database.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def _check_schema(self) -> None:
        with self._database.connect() as connection:
            schema.check_connection(connection)

    def _reach_broker(self) -> None:
        try:
            connectivity.require(self._settings)
        except StartError as error:
            # What the broker answered may name addresses, and this report is open to all.
            _log.warning("%s", error)
            raise BrokerUnavailable from error


def _check(name: str, look: Callable[[], None]) -> Check:
    try:
        look()
    except AvaError as error:
        return Check(name=name, is_ok=False, reason=str(error))
    return Check(name=name, is_ok=True)
