"""Rates: when the next job of a key may start."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.domain.limits.rates import RateState
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs.moves.rules import RATE_NEXT_AT

# What was written before the clock went back is written anew, because the moment would else move on with the clock.
_READ = Statement(f"""
WITH rebased AS (
    UPDATE rate_states AS r SET next_at = {RATE_NEXT_AT}, written_at = clock_timestamp()
    WHERE r.key = ANY(%(keys)s::text[]) AND r.written_at > clock_timestamp()
    RETURNING r.key, r.next_at
)
SELECT k.key, clock_timestamp(), coalesce(b.next_at, r.next_at, '-infinity')
FROM unnest(%(keys)s::text[]) AS k (key)
LEFT JOIN rate_states AS r ON r.key = k.key LEFT JOIN rebased AS b ON b.key = k.key
""")


def read(connection: Connection, keys: Collection[str]) -> dict[str, RateState]:
    """Returns the states of rates by their keys; one that the clock has left behind is brought back to it."""
    found = connection.exec_driver_sql(_READ, {"keys": list(keys)})
    return {key: RateState(now=now, next_at=max(next_at, _LONG_AGO)) for key, now, next_at in found}


_LONG_AGO = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

# A handler may have put the moment off meanwhile.
_WRITE = Statement(f"""
INSERT INTO rate_states AS r (key, next_at)
SELECT * FROM unnest(%(keys)s::text[], %(moments)s::timestamptz[]) AS k (key, next_at) ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    next_at = greatest({RATE_NEXT_AT}, excluded.next_at), written_at = clock_timestamp()
""")


def write(connection: Connection, moments: dict[str, datetime]) -> None:
    """Write the moments of the next starts by the keys of their rates."""
    parameters = {"keys": list(moments), "moments": list(moments.values())}
    connection.exec_driver_sql(_WRITE, parameters)


_DELETE_IDLE = Statement("""
DELETE FROM rate_states WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM rate_states WHERE next_at < now() - interval '1 hour' LIMIT %(limit)s))
""")


def delete_idle(connection: Connection, *, limit: int) -> int:
    """Delete the states of rates that allow every start. Returns the number of rows."""
    return connection.exec_driver_sql(_DELETE_IDLE, {"limit": limit}).rowcount
