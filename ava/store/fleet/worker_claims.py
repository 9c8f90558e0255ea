"""When runs of pull workers were last claimed, and when an API process could last receive their heartbeats."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.domain.jobs.pull import LIVE_SECONDS, PullQueue
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

# Ordered by key, so that two calls do not deadlock.
_RECORD = Statement("""
INSERT INTO worker_claims AS c (tenant_id, worker_id, claimed_at)
SELECT %(tenant_id)s, w.id, clock_timestamp() FROM unnest(%(workers)s::text[]) AS w (id) ORDER BY w.id
ON CONFLICT (tenant_id, worker_id) DO UPDATE SET claimed_at = excluded.claimed_at
""")


def record(connection: Connection, *, tenant_id: str, worker_ids: Collection[str]) -> None:
    """Record that runs of workers are claimed now, by keys of a tenant or of the platform (`*`)."""
    connection.exec_driver_sql(_RECORD, {"tenant_id": tenant_id, "workers": sorted(set(worker_ids))})


_LIVE = Statement(f"""
SELECT q.name FROM unnest(%(names)s::text[], %(owners)s::text[], %(workers)s::text[], %(tenants)s::text[])
    AS q (name, owner, worker_id, tenant_id)
WHERE EXISTS (
    SELECT FROM worker_claims AS c WHERE c.worker_id = q.worker_id AND c.tenant_id IN (q.tenant_id, q.owner)
        AND c.claimed_at > now() - interval '{LIVE_SECONDS} seconds')
""")


def live(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Return the pull queues among `names` that have a live worker."""
    queues = [PullQueue.parse(name) for name in names]
    parameters = {
        "names": list(names),
        "owners": [queue.owner for queue in queues],
        "workers": [queue.worker_id for queue in queues],
        "tenants": [queue.tenant_id for queue in queues],
    }
    return frozenset(connection.exec_driver_sql(_LIVE, parameters).scalars())


# Every API process calls this each second; one of them writes. A time in the future: PostgreSQL's clock was set back.
_RECORD_API = Statement("""
UPDATE installation SET api_heartbeat_at = clock_timestamp()
WHERE EXISTS (SELECT FROM worker_claims) AND coalesce(
    api_heartbeat_at NOT BETWEEN clock_timestamp() - interval '0.9 s' AND clock_timestamp(), true)
""")


def record_api_heartbeat(connection: Connection) -> None:
    """Record that an API process can receive heartbeats of pulled runs now."""
    connection.exec_driver_sql(_RECORD_API)


_API_HEARTBEAT_AT = Statement("SELECT api_heartbeat_at FROM installation")


def api_heartbeat_at(connection: Connection) -> datetime | None:
    """Return when an API process could last receive heartbeats of pulled runs; None if none were ever claimed."""
    found: datetime | None = connection.exec_driver_sql(_API_HEARTBEAT_AT).scalar_one()
    return found
