"""Readiness: checks of the database, its schema and the broker, each with the reason for a failure."""

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
    """The result of one check."""

    #: `database`, `migrations` or `broker`.
    name: str
    is_ok: bool
    #: What is wrong, in a sentence without addresses and passwords.
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of all checks."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> str:
        """`ok`, `degraded` if only the broker is away, otherwise `unavailable`."""
        broken = {check.name for check in self.checks if not check.is_ok}
        if not broken:
            return "ok"
        return "degraded" if broken == {"broker"} else "unavailable"


class Readiness:
    """The checks of one process. A report is cached for a second."""

    cache_seconds = 1.0

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._reported_at = float("-inf")

    def report(self) -> Report:
        """Returns the report, at most `cache_seconds` old."""
        with self._lock:
            if self._report is None or time.monotonic() - self._reported_at > self.cache_seconds:
                self._report = Report(checks=(*self._check_database(), _check("broker", self._reach_broker)))
                self._reported_at = time.monotonic()
            return self._report

    def _check_database(self) -> tuple[Check, Check]:
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
            # The broker's message may hold addresses, and this report is public.
            _log.warning("Readiness: %s", error)
            raise BrokerUnavailable from error


def _check(name: str, act: Callable[[], None]) -> Check:
    try:
        act()
    except AvaError as error:
        return Check(name=name, is_ok=False, reason=str(error))
    return Check(name=name, is_ok=True)
