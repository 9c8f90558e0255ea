"""Checks of `ava doctor` that query PostgreSQL: rights, durability, disk, connections, partitions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ava.settings import Settings
    from ava.store.engine.database import Connection

_MAX_RIGHTS_NAMED = 5
#: The share of a connection limit that counts as exhausted: the next process to start may get none.
_MAX_USED_SHARE = 0.9
_MIN_DAYS_AHEAD = 1.5
#: Connections per node (without its processes), pool process, slot process, dispatcher, and sender.
_OF_NODE, _OF_POOL_PROCESS, _OF_SLOT_PROCESS, _OF_DISPATCHER, _OF_SENDER = 2, 2, 8, 7, 3


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    from ava.store.engine import schema
    from ava.store.engine.database import Database

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        yield connection


def check_rights(settings: Settings) -> str:
    """Return that the role has the rights of the processes. Raises `StartError` if one is missing."""
    from ava.errors import StartError
    from ava.store.reports import server

    with _connected(settings) as connection:
        missing = server.missing_rights(connection, limit=_MAX_RIGHTS_NAMED + 1)
    if missing:
        others = " and others" if len(missing) > _MAX_RIGHTS_NAMED else ""
        raise StartError(
            f"the role of DATABASE_URL lacks {', '.join(missing[:_MAX_RIGHTS_NAMED])}{others}. Set "
            "DATABASE_OWNER_URL to the owner of the tables and run `ava db upgrade`, which grants the missing "
            "rights."
        )
    return "the role may read and write every table"


def check_durability(settings: Settings) -> str:
    """Return that a commit is durable. Raises `StartError` if an accepted job may be lost."""
    from ava.errors import StartError
    from ava.store.reports import server

    with _connected(settings) as connection:
        durability = server.read_durability(connection)
    if not durability.has_fsync:
        raise StartError(
            "fsync is off, so a crash of the machine may destroy the database; set `fsync = on` in postgresql.conf."
        )
    if durability.synchronous_commit == "off":
        raise StartError(
            "synchronous_commit is off, so a crash of PostgreSQL loses recently accepted jobs; set it to `on` in "
            "postgresql.conf, or in the ALTER ROLE or ALTER DATABASE that set it."
        )
    return f"a commit reaches the disk (fsync on, synchronous_commit {durability.synchronous_commit})"


def check_writes(settings: Settings) -> str:
    """Return that PostgreSQL accepts writes. Raises `StartError` with the reason if it is read-only."""
    from ava.errors import StartError
    from ava.store.reports import server

    with _connected(settings) as connection:
        cause = server.read_only_cause(connection)
    if cause:
        raise StartError(
            f"PostgreSQL is read-only, because {cause}, so the API refuses jobs with 503 and no run's outcome can be "
            "written; promote the standby or name the primary in DATABASE_URL, or reset that setting, which managed "
            "servers set while their storage is full. No process needs a restart."
        )
    return "PostgreSQL accepts writes"


def check_disk(settings: Settings) -> str:
    """Return that PostgreSQL's disk has free space. Raises `StartError` if it has none."""
    from ava.errors import StartError
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.reports import server

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database:
        if server.is_disk_full(database):
            raise StartError(
                "the disk of PostgreSQL is full, so the API refuses jobs with 503 and no run's outcome can be "
                "written; free space, or enlarge the disk. No process needs a restart."
            )
    return "the disk of PostgreSQL has free space"


def check_connections(settings: Settings) -> str:
    """Return the number of used connections. Raises `StartError` if the limit is exhausted or too low."""
    from ava.errors import StartError
    from ava.store.reports import server

    with _connected(settings) as connection:
        limits = server.connection_limits(connection)
        fleet = server.node_processes(connection, dead_after_seconds=settings.node_dead_seconds)
    for each in limits:
        if each.used > _MAX_USED_SHARE * each.limit:
            raise StartError(
                f"{each.used} of {each.limit} connections are used ({each.name}), so a new process gets none: "
                "`pg_stat_activity` shows their owners; raise the limit or start fewer processes."
            )
    narrow = min(limits, key=lambda each: each.limit)
    found = f"{narrow.used} of {narrow.limit} connections are used ({narrow.name})"
    if settings.database_pool_url:
        return f"{found}; the processes share the pooler's connections"
    if not fleet.nodes:
        # Assume one node, which is about to be started.
        fleet = server.NodeProcesses(nodes=1, pool_processes=os.cpu_count() or 1, slot_processes=0)
    of_nodes = (
        fleet.nodes * _OF_NODE + fleet.pool_processes * _OF_POOL_PROCESS + fleet.slot_processes * _OF_SLOT_PROCESS
    )
    needed = settings.api_processes * settings.api_connections + of_nodes + _OF_DISPATCHER + _OF_SENDER
    if needed > narrow.limit:
        raise StartError(
            f"one API ({settings.api_processes} × {settings.api_connections}), nodes with {fleet.pool_processes} "
            f"pool processes and {fleet.slot_processes} slot processes, a dispatcher and a sender use up to {needed} "
            f"connections, but {narrow.name} allows {narrow.limit}: raise it, lower AVA_API_CONNECTIONS or `-c`, or "
            "set DATABASE_POOL_URL to a pooler."
        )
    return f"{found}; one API, the nodes, a dispatcher and a sender use up to {needed}"


def check_partitions(settings: Settings) -> str:
    """Return for how many days partitions exist. Raises `StartError` if a table will soon have none."""
    from ava.errors import StartError
    from ava.store import partitions

    with _connected(settings) as connection:
        days_ahead = partitions.days_ahead(connection)
    table, days = min(days_ahead.items(), key=lambda each: each[1])
    if days < _MIN_DAYS_AHEAD:
        raise StartError(
            f"the last partition of {table} ends in {days:.1f} days, because the dispatcher's duty `partitions` has "
            "added none. Start a dispatcher, or look for the duty's error in its log; no row is lost until then."
        )
    return f"partitions exist for the next {days:.0f} days"


def check_sign_in(settings: Settings) -> str:
    """Check the identity provider and the mapping of its claims. Raises `AvaError`."""
    from ava.services import sign_in

    sign_in.require_usable(settings)
    return sign_in.make_provider(settings).describe()
