"""Synchronous replication: the standbys, and the position that they have applied."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ava.domain.jobs.job import JobKey
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

#: `FIRST 2 (a, b, c)`, `ANY 1 (a, b)` and `2 (a, b)` name how many standbys a commit waits for; a plain list is 1.
_NUMBER = re.compile(r"\s*(?:(?:first|any)\s+)?(\d+)\s*\(", re.IGNORECASE)

_READ_STANDBYS = Statement("""
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS may_read,
    current_setting('synchronous_standby_names') AS names,
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming') AS found
""")


@dataclass(frozen=True, kw_only=True)
class Standbys:
    #: False if the role may not read `pg_stat_replication`.
    may_read: bool
    #: Standbys that a commit waits for; 0 if the server names none.
    required: int
    #: Standbys that are streaming.
    found: int


def read_standbys(connection: Connection) -> Standbys:
    row = connection.exec_driver_sql(_READ_STANDBYS).one()
    return Standbys(may_read=row.may_read, required=required(row.names), found=row.found)


def required(names: str) -> int:
    """Return how many standbys `synchronous_standby_names` makes a commit wait for."""
    if not names.strip():
        return 0
    number = _NUMBER.match(names)
    return int(number.group(1)) if number else 1


# The rows are in the statement's snapshot before the position is read, so their commits precede it. An asynchronous
# commit is visible before it is written: then use the insert position.
_POSITION = Statement("""
SELECT count(*) AS jobs,
    CASE WHEN NOT pg_is_in_recovery() THEN
        CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
            ELSE pg_current_wal_lsn() END::text
    END AS position,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = g.tenant_id AND j.id = g.id
""")


@dataclass(frozen=True, kw_only=True)
class Position:
    """A position in the WAL of a primary. Each promotion begins a new timeline."""

    timeline: str
    lsn: str


def position_of_jobs(connection: Connection, keys: Collection[JobKey]) -> Position | None:
    """Return a WAL position behind the commits of these jobs; None if one is missing or the server is a standby."""
    wanted = set(keys)
    parameters = {"tenants": [key.tenant_id for key in wanted], "ids": [rows.job_uuid(key.id) for key in wanted]}
    row = connection.exec_driver_sql(_POSITION, parameters).one()
    if row.jobs < len(wanted) or row.position is None:
        return None
    return Position(timeline=row.timeline, lsn=row.position)


_APPLIED = Statement("""
SELECT current_setting('synchronous_standby_names') AS names,
    (SELECT count(*) FROM pg_stat_replication
     WHERE sync_state IN ('sync', 'quorum') AND replay_lsn >= %(lsn)s::pg_lsn) AS applied,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline
""")


def is_applied(connection: Connection, position: Position) -> bool | None:
    """Return True if as many synchronous standbys as a commit waits for have applied the WAL up to a position.

    None if the server is no longer the primary of the position's timeline.
    """
    row = connection.exec_driver_sql(_APPLIED, {"lsn": position.lsn}).one()
    if row.timeline != position.timeline:
        return None
    wanted = required(row.names)
    return 0 < wanted <= int(row.applied)
