"""Measure the cost of an event while many jobs wait for one of its type.

`python -m bench.event_waits` runs the dispatcher's duty `wakes` on its own server. It prints the time of each event,
and the delay of another tenant's job whose child ends during it. It is a separate command, because it compares kinds of
patterns on one system and needs no baseline.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ava import settings as settings_module
from ava.dispatcher.duties.wakes import Wakes
from ava.domain.events.awaited import pattern_key
from ava.domain.events.event import EventSpec, InboundEvent
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.store.events import events
from harness.servers.postgres import running_postgres

_TYPE = "order.paid"
# Jobs that wait for events.
_WAITS = """
WITH new AS (
    SELECT ava_uuid7() AS id, v.* FROM unnest(%(values)s::text[], %(keys)s::uuid[]) AS v (value, match_key)
), jobs AS (
    INSERT INTO jobs (tenant_id, id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, run_no,
        attempt, first_run_no, waits_for)
    SELECT 'ten_many', id, 'wkr_bench', 'manual', 5, 'default', '{}', 'usr_bench', 1, 1, 1, 1, 'event' FROM new
), waits AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    SELECT 'ten_many', id, 1, 'event', '{}' FROM new
)
INSERT INTO job_journal (tenant_id, job_id, kind, name, attempt, state, value, match_key)
SELECT 'ten_many', id, 'event', 'order.paid', 1, 'waits', value::json, match_key FROM new
"""
# A job that waits for ended jobs, and its wake.
_CHILD = """
WITH parent AS (
    INSERT INTO jobs (tenant_id, id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, run_no,
        attempt, first_run_no, waits_for, tree_id)
    SELECT 'ten_one', u, 'wkr_bench', 'manual', 5, 'default', '{}', 'usr_bench', 1, 1, 1, 1, 'jobs', u
    FROM ava_uuid7() AS u RETURNING id
), waits AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    SELECT 'ten_one', id, 1, 'ended', '{}' FROM parent
)
INSERT INTO wakes (tenant_id, kind, source_id) SELECT 'ten_one', 'job', id FROM parent
"""
_CHILDREN_LEFT = "SELECT count(*) FROM jobs WHERE tenant_id = 'ten_one' AND waits_for IS NOT NULL"
_EVENTS_LEFT = "SELECT count(*) FROM wakes WHERE kind = 'event'"
_WOKEN = "SELECT count(*) FROM jobs WHERE tenant_id = 'ten_many' AND waits_for IS NULL"
_EMPTY = "DELETE FROM wakes; DELETE FROM job_journal; DELETE FROM job_waits; DELETE FROM jobs; DELETE FROM events"


def _fill(database: Database, matches: Sequence[Any]) -> None:
    values = [json.dumps({"type": _TYPE, "match": match}) for match in matches]
    keys = [str(pattern_key(match)) for match in matches]
    with database.connect() as connection:
        connection.exec_driver_sql(_EMPTY)
        connection.exec_driver_sql(_WAITS, {"values": values, "keys": keys})
        connection.exec_driver_sql("ANALYZE")


def _send(database: Database, numbers: Sequence[int]) -> None:
    with database.transaction() as connection:
        reserved = events.reserve(connection, tenant_id="ten_many", count=len(numbers))
        new = [
            InboundEvent(
                id=event_id,
                tenant_id="ten_many",
                spec=EventSpec(type=_TYPE, data_json=json.dumps({"n": n, "lines": [{"sku": i} for i in range(20)]})),
                created_at=reserved.now,
            )
            for event_id, n in zip(reserved.event_ids, numbers, strict=True)
        ]
        events.insert(connection, new, fanned_out_to={}, version=None)


def _follow(database: Database) -> tuple[float, list[float]]:
    """Run the duty until no wake is left. Returns the seconds, and the waits of another tenant's jobs."""
    duty = Wakes(database)
    has_ended = threading.Event()
    waited: list[float] = []

    def watch() -> None:
        while not has_ended.is_set():
            with database.connect() as connection:
                connection.exec_driver_sql(_CHILD)
            since = time.perf_counter()
            while _count(database, _CHILDREN_LEFT) and not has_ended.is_set():
                time.sleep(0.005)
            waited.append(time.perf_counter() - since)
            has_ended.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    while _count(database, _EVENTS_LEFT):
        duty.run_once(0.0)
    seconds = time.perf_counter() - began
    has_ended.set()
    watcher.join()
    return seconds, waited[:-1] or waited


def _count(database: Database, statement: str) -> int:
    with database.connect() as connection:
        return int(connection.exec_driver_sql(statement).scalar_one())


def _measure(database: Database, name: str, match: Callable[[int], Any], *, waits: int, sent: int) -> None:
    _fill(database, [match(n) for n in range(waits)])
    _send(database, range(sent))
    seconds, waited = _follow(database)
    woken = _count(database, _WOKEN)
    print(
        f"{name}: {1000 * seconds / sent:.2f} ms for each of {sent:,} events, {woken:,} of {waits:,} jobs woken; "
        f"another tenant's job continues after {1000 * statistics.median(waited):.0f} ms (p50), "
        f"{1000 * max(waited):.0f} ms (longest)",
        flush=True,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200)
    asked = parser.parse_args()
    with running_postgres() as postgres:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": "redis://none"}))
        database = Database(postgres.url, name="bench")
        try:
            for name, match, sent in (
                ("an exact field, an event for each", lambda n: {"data": {"n": [n]}}, asked.waits),
                ("an exact field", lambda n: {"data": {"n": [n]}}, asked.events),
                (
                    "an exact field that all share",
                    lambda n: {"source": ["/"], "data": {"n": [{"numeric": ["=", n]}]}},
                    20,
                ),
                ("no exact field", lambda n: {"data": {"n": [{"numeric": ["=", n]}]}}, 20),
            ):
                _measure(database, name, match, waits=asked.waits, sent=sent)
        finally:
            database.close()


if __name__ == "__main__":
    _main()
