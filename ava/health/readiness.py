"""Readiness: checks of the database, its schema and the broker, each with the reason for a failure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ava.broker import connectivity
from ava.errors import AvaError, BrokerUnavailable, StartError
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.store.reports import server

_log = logging.getLogger(__name__)
#: Seconds that a report waits for the broker check. A silent name server may take more than ten.
_BROKER_SECONDS = 2.0
#: Seconds until a disk with free space is checked again, because a check writes 1 MiB.
_DISK_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Check:
    #: `database`, `migrations`, `writes`, `disk` (the database's), or `broker` in processes that connect to one.
    name: str
    is_ok: bool
    #: The problem in one sentence, without addresses and passwords.
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def status(self) -> str:
        """`ok`; `degraded` if only the broker, writes or disk space are unavailable; otherwise `unavailable`."""
        broken = {check.name for check in self.checks if not check.is_ok}
        if not broken:
            return "ok"
        return "degraded" if broken <= {"broker", "writes", "disk"} else "unavailable"


class Readiness:
    """The checks of one process. A report is cached for a second."""

    cache_seconds = 1.0

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._report: Report | None = None
        #: The running broker check, and its result.
        self._broker_thread: threading.Thread | None = None
        self._broker_check: Check | None = None
        self._reported_at = float("-inf")
        self._disk_check = Check(name="disk", is_ok=True)
        self._disk_checked_at = float("-inf")

    def report(self) -> Report:
        """Return the report, at most `cache_seconds` old."""
        with self._lock:
            if self._report is None or time.monotonic() - self._reported_at > self.cache_seconds:
                self._report = Report(checks=tuple(self._checks()))
                self._reported_at = time.monotonic()
            return self._report

    def _checks(self) -> list[Check]:
        if not self._settings.broker_url:
            return self._check_database()
        self._start_broker_check()
        return [*self._check_database(), self._end_broker_check()]

    def _check_database(self) -> list[Check]:
        database = _check("database", self._reach_database)
        if not database.is_ok:
            unknown = Check(name="", is_ok=False, reason="The database could not be asked.")
            return [database, *(replace(unknown, name=name) for name in ("migrations", "writes", "disk"))]
        writes = _check("writes", lambda: server.require_writes(self._database))
        return [database, _check("migrations", self._check_schema), writes, self._check_disk()]

    def _reach_database(self) -> None:
        with self._database.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def _check_schema(self) -> None:
        with self._database.connect() as connection:
            schema.check_connection(connection)

    def _check_disk(self) -> Check:
        if not self._disk_check.is_ok or time.monotonic() - self._disk_checked_at > _DISK_SECONDS:
            self._disk_check = _check("disk", lambda: server.require_disk_space(self._database))
            self._disk_checked_at = time.monotonic()
        return self._disk_check

    def _start_broker_check(self) -> None:
        # Continue to wait for a running check, so that a silent broker occupies only one thread.
        if self._broker_thread is None:
            self._broker_check = None
            self._broker_thread = threading.Thread(target=self._check_broker, name="ava-readiness", daemon=True)
            self._broker_thread.start()

    def _end_broker_check(self) -> Check:
        assert self._broker_thread is not None
        self._broker_thread.join(_BROKER_SECONDS)
        if self._broker_check is None:
            return Check(name="broker", is_ok=False, reason=f"It did not answer within {_BROKER_SECONDS:g} s.")
        self._broker_thread = None
        return self._broker_check

    def _check_broker(self) -> None:
        self._broker_check = _check("broker", self._reach_broker)

    def _reach_broker(self) -> None:
        try:
            connectivity.require(self._settings, takes_messages=True)
        except StartError as error:
            # The broker's message may contain addresses, and this report is public.
            _log.warning("Readiness: %s", error)
            raise BrokerUnavailable from error


def _check(name: str, act: Callable[[], None]) -> Check:
    try:
        act()
    except AvaError as error:
        return Check(name=name, is_ok=False, reason=str(error))
    return Check(name=name, is_ok=True)
