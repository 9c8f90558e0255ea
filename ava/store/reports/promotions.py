"""Promotions of a standby, as observed by the dispatchers.

It keeps the promise that operators see when a promotion has lost commits (docs/operate/availability.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ava.domain.fleet import Promotion
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement

_MAX_COUNTED = 100_000

# The first eight digits of a WAL file's name are the timeline.
_POLL = Statement("""
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
class ServerState:
    #: None if it is a standby.
    timeline: int | None
    #: Distinguishes it from another server, and from another database with the same name.
    server: Hashable
    #: Tenant and UUID of its newest job.
    newest: Sequence[str] | None
    #: False if it lacks the job `known`.
    has_known: bool


def poll(connection: Connection, *, known: Sequence[str] | None) -> ServerState:
    """Return the server's timeline and newest job, and whether it has the job `known` (tenant and UUID)."""
    tenant_id, uuid = known or (None, None)
    row = connection.exec_driver_sql(_POLL, {"tenant_id": tenant_id, "id": uuid}).one()
    return ServerState(
        timeline=row.timeline,
        server=(row.timeline, row.started_at, row.database_no),
        newest=row.newest,
        has_known=row.has_known,
    )


# A loss on a timeline without a promotion means that the database was restored.
_RECORD = Statement("""
INSERT INTO promotions AS p (timeline, is_lossy, running)
SELECT %(timeline)s, %(is_lossy)s, CASE WHEN %(is_lossy)s OR EXISTS (SELECT 1 FROM promotions) THEN
    (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE status = 'running' LIMIT %(limit)s) AS c) END
ON CONFLICT (timeline) DO UPDATE
    SET is_lossy = true, running = coalesce(p.running, excluded.running), seen_at = now()
    WHERE excluded.is_lossy AND NOT p.is_lossy
RETURNING running
""")


def record(connection: Connection, timeline: int, *, is_lossy: bool) -> int | None:
    """Store a new timeline, or mark a stored one as lossy.

    Returns the number of runs that were active if a promotion or a loss was stored, otherwise None.
    """
    row = connection.exec_driver_sql(
        _RECORD, {"timeline": timeline, "is_lossy": is_lossy, "limit": _MAX_COUNTED}
    ).first()
    return None if row is None else row.running


_ROWS = RecordRows(Promotion, "p")
_LATEST = Statement(f"""
SELECT {_ROWS.columns} FROM promotions AS p
WHERE running IS NOT NULL AND seen_at > now() - %(days)s * interval '1 day'
ORDER BY timeline DESC LIMIT 1
""")


def latest(connection: Connection, *, days: float) -> Promotion | None:
    return _ROWS.first(connection.exec_driver_sql(_LATEST, {"days": days}))


#: Above each timeline.
_AFTER_ALL = 2**32
_PAGE = Statement(f"""
SELECT {_ROWS.columns} FROM promotions AS p
WHERE running IS NOT NULL AND timeline < %(before)s ORDER BY timeline DESC LIMIT %(limit)s OFFSET %(offset)s
""")


def page(connection: Connection, *, before: int | None, limit: int, offset: int) -> list[Promotion]:
    """Return promotions before a timeline, latest first; None: from the latest on."""
    given = {"before": _AFTER_ALL if before is None else before, "limit": limit, "offset": offset}
    return [_ROWS.read(row) for row in connection.exec_driver_sql(_PAGE, given)]


_COUNTS = Statement("""
SELECT count(*) FILTER (WHERE is_lossy) AS lossy, count(*) FILTER (WHERE NOT is_lossy) AS others
FROM promotions WHERE running IS NOT NULL
""")


def counts(connection: Connection) -> dict[bool, int]:
    """Return the number of promotions by whether commits are known to be lost."""
    row = connection.exec_driver_sql(_COUNTS).one()
    return {True: row.lossy, False: row.others}
