"""Duties that notice silent and dead nodes, rescue their runs, and record the promotion of a standby of PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ava.broker.control import Control
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.jobs.moves import rescue
from ava.store.reports import promotions

_log = logging.getLogger(__name__)

#: If more seconds pass between two observations, the database may have been out of reach meanwhile.
_GAP_SECONDS = 3.0
_RUNS_PER_STATEMENT = 500

#: Whose heartbeats: a node's id, a pulled run.
_Sender = TypeVar("_Sender", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heartbeat:
    #: PostgreSQL's time of the heartbeat. It is only compared with another one for equality.
    seen_at: datetime
    #: Since when it has not changed, in seconds of this process's monotonic clock.
    since: float


class Heartbeats(Generic[_Sender]):
    """The heartbeats that one process has read. One thread observes, any thread asks.

    PostgreSQL's clock may jump, and after an outage the heartbeats of living senders are old. So a sender is silent
    only if its heartbeat has not changed while this process read it repeatedly without a gap.
    """

    def __init__(self, *, age_seconds: float = 0.0) -> None:
        """`age_seconds`: the age that PostgreSQL's clock gives each heartbeat before this process reads it."""
        self._age_seconds = age_seconds
        self._heartbeats: Mapping[_Sender, _Heartbeat] = {}
        #: When this process last read them, and since when it has read them without a gap.
        self._observed_at = self._began_at = float("-inf")

    def observe(self, now: float, seen_at: Mapping[_Sender, datetime]) -> None:
        """Record the heartbeats that were read at `now`, by their senders."""
        if now - self._observed_at > _GAP_SECONDS:
            self.forget(now)
        known, since = self._heartbeats, max(now - self._age_seconds, self._began_at)
        self._heartbeats = {
            sender: last
            if (last := known.get(sender)) is not None and last.seen_at == moment
            else _Heartbeat(seen_at=moment, since=since)
            for sender, moment in seen_at.items()
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
        """Return the time from `now` until the next sender has been silent for `seconds`; infinity if none can be."""
        left = (last.since + seconds - now for last in self._heartbeats.values())
        return min((each for each in left if each > 0), default=float("inf"))


def watch_heartbeats(database: Database, heartbeats: Heartbeats[str], now: float) -> int:
    """Read the heartbeats of all nodes once. Returns 0, because nothing changes.

    Dispatchers that stand by do it as well, so that the next active one knows immediately which nodes are silent.
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
    """Ask nodes through the broker to release their runs after half of the seconds from which they count as dead.

    A node that is cut off from the database alone runs on, because it cannot distinguish that from an outage for all
    nodes. When it counts as dead, none of its runs may still be running; this request gives it time to stop them.

    Returns the number of runs.
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
    """Rescue a batch of the runs of nodes whose heartbeat has not changed for too long. Returns their number."""
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
        # A database that can be read and not written, such as one on a full disk, takes no heartbeats either.
        heartbeats.forget(now)
        raise
    return len(rescued)


class Promotions:
    """Records each timeline of PostgreSQL once, and whether commits were lost with the previous server.

    Every dispatcher runs it, because another one may become active by the promotion. Each remembers the newest job that
    it has seen, so one that misses its job corrects what another has recorded. An idle system has no such job, so a
    promotion that is not called lossy may be one.
    """

    def __init__(self, database: Database, *, on_another_server: Callable[[], None] = lambda: None) -> None:
        """`on_another_server` is called when another server answers than before."""
        self._database = database
        self._on_another_server = on_another_server
        self._server: Hashable = None
        self._newest: Sequence[str] | None = None

    def run_once(self, _now: float) -> int:
        """Record the server's timeline if another server answers. Returns 1 if that is a promotion, or a loss.

        On the same server a job that is missing was deleted by retention.
        """
        with self._database.connect() as connection:
            found = promotions.look(connection, known=self._newest)
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
        _log.warning("A standby of PostgreSQL was promoted %s; every run is asked for again", lost, extra=fields)
        return 1
