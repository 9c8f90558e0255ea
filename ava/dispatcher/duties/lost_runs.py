"""Duties that detect silent and dead nodes and pulled runs, rescue their runs, and record promotions of a standby."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ava.broker.control import Control
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.retry import DEFAULT
from ava.domain.worker import PULLED_SILENT_SECONDS
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.fleet import nodes, pull_workers
from ava.store.jobs.transitions import pull, rescue
from ava.store.reports import promotions

_log = logging.getLogger(__name__)

#: After a longer gap between observations, the database may have been unreachable in between.
_GAP_SECONDS = 3.0
_RUNS_PER_STATEMENT = 500

#: Sender of a heartbeat: a node's id or a pulled run.
_Sender = TypeVar("_Sender", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heartbeat:
    #: PostgreSQL's time of the heartbeat, only compared for equality.
    seen_at: datetime
    #: Since when it has not changed, in seconds of this process's monotonic clock.
    since: float


class Heartbeats(Generic[_Sender]):
    """The heartbeats that one process has read. One thread observes; any thread may query.

    PostgreSQL's clock may jump, and after an outage the heartbeats of live senders are old. So a sender counts as
    silent only if its heartbeat did not change while this process read it repeatedly without a gap.
    """

    def __init__(self, *, age_seconds: float = 0.0) -> None:
        """`age_seconds`: age that a heartbeat already has, by PostgreSQL's clock, when this process first reads it."""
        self._age_seconds = age_seconds
        self._heartbeats: Mapping[_Sender, _Heartbeat] = {}
        #: When this process last read heartbeats, and since when it has read them without a gap.
        self._observed_at = self._began_at = float("-inf")

    def observe(self, now: float, seen_at: Mapping[_Sender, datetime]) -> None:
        if now - self._observed_at > _GAP_SECONDS:
            self.forget(now)
        known, since = self._heartbeats, max(now - self._age_seconds, self._began_at)
        self._heartbeats = {
            sender: last
            if (last := known.get(sender)) is not None and last.seen_at == timestamp
            else _Heartbeat(seen_at=timestamp, since=since)
            for sender, timestamp in seen_at.items()
        }
        self._observed_at = now

    def forget(self, now: float) -> None:
        """Discard all observations after an outage: live senders may have been unable to write heartbeats."""
        self._heartbeats, self._began_at = {}, now

    def silent(self, now: float, *, seconds: float) -> dict[_Sender, datetime]:
        """Return the senders whose heartbeats have not changed for `seconds`, each with its last heartbeat."""
        if now - self._observed_at > _GAP_SECONDS:
            return {}
        heartbeats = self._heartbeats
        return {sender: last.seen_at for sender, last in heartbeats.items() if now - last.since >= seconds}

    def seconds_until_silent(self, now: float, *, seconds: float) -> float:
        """Return the time from `now` until the next sender has been silent for `seconds`; infinity if there is none."""
        left = (last.since + seconds - now for last in self._heartbeats.values())
        return min((each for each in left if each > 0), default=float("inf"))


def watch_heartbeats(database: Database, heartbeats: Heartbeats[str], now: float) -> int:
    """Read the heartbeats of all nodes once. Returns 0, because nothing changes.

    Standby dispatchers run it too, so that the next active one knows immediately which nodes are silent.
    """
    try:
        with database.connect() as connection:
            seen_at = nodes.read_heartbeats(connection)
    except DatabaseUnavailable:
        heartbeats.forget(now)
        raise
    heartbeats.observe(now, seen_at)
    return 0


def warn_silent_nodes(
    database: Database, control: Control, heartbeats: Heartbeats[str], now: float, *, node_dead_seconds: float
) -> int:
    """Ask silent nodes through the broker to release their runs after half of `node_dead_seconds`.

    A node that has lost only the database continues its runs, because it cannot tell this from an outage for all nodes.
    Its runs must have ended when the node counts as dead. Returns the number of runs.
    """
    if not (node_ids := heartbeats.silent(now, seconds=node_dead_seconds / 2)):
        return 0
    with database.connect() as connection:
        silent = rescue.runs_of_nodes(connection, node_ids)
    for node_name, runs in silent.items():
        control.release_runs(runs=runs, node_name=node_name)
    return sum(map(len, silent.values()))


def rescue_from_dead_nodes(
    database: Database, heartbeats: Heartbeats[str], now: float, *, node_dead_seconds: float
) -> int:
    """Rescue a batch of runs of dead nodes. Returns the number of runs."""
    try:
        with database.connect() as connection:
            rescued = rescue.rescue_from_dead_nodes(
                connection,
                silent=heartbeats.silent(now, seconds=node_dead_seconds),
                msg="Handler lost: its node is dead",
                error="WorkerLost: the worker node died",
                limit=_RUNS_PER_STATEMENT,
            )
    except DatabaseUnavailable:
        # A database that is only readable, for example because of a full disk, stores no heartbeats either.
        heartbeats.forget(now)
        raise
    return len(rescued)


class Promotions:
    """Records each timeline of PostgreSQL once, and whether commits were lost with the previous server.

    Every dispatcher runs it, because the promotion may change which one is active. Each remembers the newest job that
    it has seen, and corrects the record if the new server lacks that job. In an idle system there is no such job, so a
    lossy promotion may be recorded as lossless.
    """

    def __init__(self, database: Database, *, on_another_server: Callable[[], None] = lambda: None) -> None:
        """`on_another_server` is called when the responding server has changed."""
        self._database = database
        self._on_another_server = on_another_server
        self._server: Hashable = None
        self._newest: Sequence[str] | None = None

    def run_once(self, _now: float) -> int:
        """Record the server's timeline if the server has changed. Returns 1 for a promotion or a loss, else 0.

        If the server is the same, retention deleted the missing job.
        """
        with self._database.connect() as connection:
            found = promotions.poll(connection, known=self._newest)
            if found.timeline is None:
                return 0
            is_another = found.server != self._server
            is_lossy = is_another and not found.has_known
            running = promotions.record(connection, found.timeline, is_lossy=is_lossy) if is_another else None
        if is_another and self._server is not None:
            self._on_another_server()
        self._server, self._newest = found.server, found.newest
        if running is None:
            return 0
        lost = "without the last commits" if is_lossy else "and no loss was seen"
        fields = {"timeline": found.timeline, "runs": running}
        _log.warning("A standby of PostgreSQL was promoted %s; every run is checked again", lost, extra=fields)
        return 1


#: PostgreSQL's clock measures these first seconds of silence, so that only runs that missed a heartbeat are watched.
_MISSED_SECONDS = 6.0
#: API processes write their own heartbeat every second. If it is older, none can receive heartbeats of runs.
_API_GAP_SECONDS = 5.0
_MAX_WATCHED = 20_000


class PulledRunWatch:
    """Rescues runs without heartbeats, and ends overdue runs that their worker should have ended.

    A run is silent only if its heartbeat stayed the same while an API process could have received another one.
    """

    def __init__(self, database: Database, *, silent_seconds: float = PULLED_SILENT_SECONDS) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._missed_seconds = min(_MISSED_SECONDS, silent_seconds / 2)
        self._heartbeats = Heartbeats[RunKey](age_seconds=self._missed_seconds)
        #: The last heartbeat of the API processes, by PostgreSQL's clock, and when this process first read it.
        self._api_heartbeat_at: datetime | None = None
        self._api_read_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Rescue a batch of silent runs and end a batch of overdue ones. Returns the number of runs."""
        with self._database.connect() as connection:
            found = pull.missed(connection, seconds=self._missed_seconds, limit=_MAX_WATCHED)
            self._check_api(now, pull_workers.api_heartbeat_at(connection))
        self._heartbeats.observe(now, found)
        silent = list(self._heartbeats.silent(now, seconds=self._silent_seconds).items())
        return rescue_silent(self._database, silent[:_RUNS_PER_STATEMENT]) + self._end_overdue()

    def _check_api(self, now: float, api_heartbeat_at: datetime | None) -> None:
        """Discard the observations if no API process could receive heartbeats of runs."""
        if api_heartbeat_at != self._api_heartbeat_at:
            self._api_heartbeat_at, self._api_read_at = api_heartbeat_at, now
        if now - self._api_read_at > _API_GAP_SECONDS:
            self._heartbeats.forget(now)

    def _end_overdue(self) -> int:
        with self._database.transaction() as connection:
            overdue = pull.lock_overdue(connection, limit=_RUNS_PER_STATEMENT)
            # Lock jobs in the order of their ids, as a cancel does.
            for run in sorted(overdue, key=lambda each: each.run.job_id):
                rescue.end_killed_run(
                    connection,
                    run=run.run,
                    error=f"Timeout: exceeded {run.timeout_seconds:g} s",
                    how=" (its worker did not end it)",
                    retry=run.retry or DEFAULT,
                )
            pull.mark_lost(connection, [run.run for run in overdue])
        return len(overdue)


def rescue_silent(database: Database, silent: Sequence[tuple[RunKey, datetime]]) -> int:
    """Rescue runs that sent no heartbeat since the given one. Unused claims return to the queue. Returns the number."""
    if not silent:
        return 0
    with database.transaction() as connection:
        locked = pull.lock_expired(connection, silent)
        for has_begun, msg in (
            (True, "Handler lost: its worker is silent"),
            (False, "The claim was not used: the run had not begun"),
        ):
            runs = [(run, claim_id) for run, claim_id, is_used in locked if is_used is has_begun]
            if runs:
                error = "WorkerLost: the worker was silent"
                rescue.rescue_pulled(connection, runs, msg=msg, error=error, has_begun=has_begun)
        pull.mark_lost(connection, [run for run, _, _ in locked])
    return len(locked)
