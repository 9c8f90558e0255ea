"""Promotions of a standby, as the dispatchers saw them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: The most runs that are counted.
_MAX_COUNTED = 100_000

# The first eight digits of a log file's name are the timeline.
_LOOK = Statement("""
SELECT CASE WHEN NOT pg_is_in_recovery() THEN
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    END AS timeline,
    pg_postmaster_start_time()::text AS started_at,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_no,
    (SELECT json_build_array(tenant_id, id) FROM jobs ORDER BY id DESC LIMIT 1) AS newest,
    %(id)s::uuid IS NULL OR EXISTS (
        SELECT 1 FROM jobs WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid
    ) AS has_known
""")


@dataclass(frozen=True, kw_only=True)
class ServerLook:
    """What the server is now."""

    #: The number of its timeline; None if it is a standby.
    timeline: int | None
    #: What distinguishes it from another server, or from another database of the same name in its place.
    server: Hashable
    #: The tenant and UUID of its newest job.
    newest: Sequence[str] | None
    #: False if it lacks the job that was asked for.
    has_known: bool


def look(connection: Connection, *, known: Sequence[str] | None) -> ServerLook:
    """Returns the server's timeline and newest job, and whether it has the job `known`, a tenant and UUID."""
    tenant_id, uuid = known or (None, None)
    row = connection.exec_driver_sql(_LOOK, {"tenant_id": tenant_id, "id": uuid}).one()
    return ServerLook(
        timeline=row.timeline,
        server=(row.timeline, row.started_at, row.database_no),
        newest=row.newest,
        has_known=row.has_known,
    )


# A loss on a timeline that is no promotion's is that of a restored database.
_RECORD = Statement("""
INSERT INTO promotions AS p (timeline, is_lossy, running)
SELECT %(timeline)s, %(is_lossy)s, CASE WHEN %(is_lossy)s OR EXISTS (SELECT 1 FROM promotions) THEN
    (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE status = 'running' LIMIT %(most)s) AS c) END
ON CONFLICT (timeline) DO UPDATE
    SET is_lossy = true, running = coalesce(p.running, excluded.running), seen_at = now()
    WHERE excluded.is_lossy AND NOT p.is_lossy
RETURNING running
""")


def record(connection: Connection, timeline: int, *, is_lossy: bool) -> int | None:
    """Store a timeline unless it is stored, or correct the stored one if the loss was not known.

    Returns the runs that were under way if a promotion or a loss is stored, otherwise None.
    """
    row = connection.exec_driver_sql(
        _RECORD, {"timeline": timeline, "is_lossy": is_lossy, "most": _MAX_COUNTED}
    ).first()
    return None if row is None else row.running


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion of a standby."""

    timeline: int
    #: When the dispatcher saw it.
    seen_at: datetime
    #: The runs that were under way then.
    running: int
    #: True if commits are known to be lost.
    is_lossy: bool


_LATEST = Statement("""
SELECT timeline, seen_at, running, is_lossy FROM promotions
WHERE running IS NOT NULL AND seen_at > now() - %(days)s * interval '1 day'
ORDER BY timeline DESC LIMIT 1
""")


def latest(connection: Connection, *, days: float) -> Promotion | None:
    """Returns the latest promotion of the last days."""
    row = connection.exec_driver_sql(_LATEST, {"days": days}).first()
    return None if row is None else _promotion(row)


_NEWEST = Statement("""
SELECT timeline, seen_at, running, is_lossy FROM promotions
WHERE running IS NOT NULL ORDER BY timeline DESC LIMIT %(limit)s
""")


def newest(connection: Connection, *, limit: int) -> list[Promotion]:
    """Returns the newest promotions, the latest first."""
    return [_promotion(row) for row in connection.exec_driver_sql(_NEWEST, {"limit": limit})]


def _promotion(row: Any) -> Promotion:
    return Promotion(timeline=row.timeline, seen_at=row.seen_at, running=row.running, is_lossy=row.is_lossy)


_COUNTS = Statement("""
SELECT count(*) FILTER (WHERE is_lossy) AS lossy, count(*) FILTER (WHERE NOT is_lossy) AS others
FROM promotions WHERE running IS NOT NULL
""")


def counts(connection: Connection) -> dict[bool, int]:
    """Returns the number of promotions by whether commits are known to be lost."""
    row = connection.exec_driver_sql(_COUNTS).one()
    return {True: row.lossy, False: row.others}
