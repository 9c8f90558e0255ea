"""`python -m bench.trees`: the callback of a chord, thousands of waiting jobs, and a map of 10,000 children.

Each measure runs on its own system with a node of two processes, on Redis, and reports whether its bound is kept.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import System

#: Entries of a bulk, including the callback.
_CHORD = 1000
_BULK = 1000
#: Max seconds between the last end of a part and the start of the callback.
_PROMISED_CALLBACK_SECONDS = 1.0
_PROMISED_END_SECONDS = 60.0
#: Max factor by which waiting jobs may delay a start.
_PROMISED_FACTOR = 1.5
#: Number of jobs that wait first, to warm up.
_FIRST = 20


def callback(system: System, *, count: int) -> bool:
    """Trigger chords one after the other. Prints the delay from the last end to each callback's start."""
    tries = []
    for _ in range(max(1, count)):
        names = [f"part_{n}" for n in range(_CHORD - 1)]
        entries: list[dict[str, Any]] = [{"worker_id": "wkr_tree_part", "name": name} for name in names]
        entries.append({"worker_id": "wkr_tree_part", "name": "callback", "after": names})
        last = _trigger(system, entries)[-1]
        system.wait_for(last, "completed", seconds=300)
        tries.append(float(system.query(_AFTER_LAST_END)[0][0]))
    tries.sort()
    print(
        f"chord of {_CHORD - 1}: callback starts p50 {statistics.median(tries):.2f} s, p99 {tries[-1]:.2f} s after the "
        f"last end ({len(tries)} tries)"
    )
    return tries[-1] <= _PROMISED_CALLBACK_SECONDS


_AFTER_LAST_END = """
SELECT extract(epoch FROM c.started_at - max(j.completed_at)) FROM jobs AS c JOIN jobs AS j
    ON j.tenant_id = c.tenant_id AND j.tree_id = c.tree_id AND j.id <> c.id
WHERE c.id = (SELECT id FROM jobs WHERE name = 'callback' ORDER BY id DESC LIMIT 1) GROUP BY c.started_at
"""


def waits(system: System, *, count: int) -> bool:
    """Let thousands of jobs wait, for an event and then for children. Prints their resources, and how they end."""
    return all([_wait(system, "event", count), _wait(system, "child", count)])


def _wait(system: System, kind: str, count: int) -> bool:
    if kind == "child":
        assert system.request("PATCH", "/v1/ava/workers/wkr_tree_gated", json={"status": "paused"}).ok
    # The first ones open permanent resources of a process.
    _begin_to_wait(system, kind, _FIRST)
    idle, connections = _start_latency(system), _connections(system)
    _begin_to_wait(system, kind, count)
    beside, messages, more = _start_latency(system), _messages(system), _connections(system) - connections
    if kind == "child":
        assert system.request("PATCH", "/v1/ava/workers/wkr_tree_gated", json={"status": "active"}).ok
        gated = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_tree_gated' AND completed_at IS NULL"
        wait_until(lambda: system.query(gated) == [(0,)], seconds=600, what="all children have ended")
        began = time.monotonic()
    else:
        began = time.monotonic()
        assert system.post("/v1/ava/events", json={"type": "bench.go", "data": 1}).status_code == 201
    unfinished = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_tree_parent' AND completed_at IS NULL"
    wait_until(lambda: system.query(unfinished) == [(0,)], seconds=600, what="all have completed")
    seconds = time.monotonic() - began
    print(
        f"{count} jobs that wait for {'a child each' if kind == 'child' else 'one event'}: another starts after "
        f"{beside:.1f} ms (idle {idle:.1f} ms), {messages} messages, {more:+} connections, "
        f"all completed {seconds:.1f} s after what they wait for",
        flush=True,
    )
    is_free = beside <= _PROMISED_FACTOR * idle and messages == 0 and more <= 0
    return is_free and seconds <= _PROMISED_END_SECONDS


def _begin_to_wait(system: System, kind: str, count: int) -> None:
    """Trigger jobs until `count` wait."""
    waiting = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_tree_parent' AND waits_for IN ('children', 'event')"
    there = int(system.query(waiting)[0][0])
    body = {"worker_id": "wkr_tree_parent", "input": {"for": kind}}
    for first in range(there, count, _BULK):
        _trigger(system, [body] * min(_BULK, count - first))
    wait_until(lambda: system.query(waiting) == [(count,)], seconds=600, what="all wait")


def _start_latency(system: System) -> float:
    """Return the median of the milliseconds from a trigger to the start of its job."""
    for _ in range(40):
        system.wait_for(system.trigger("wkr_tree_part")["id"], "completed")
    (row,) = system.query(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at)) * 1000 FROM ("
        "SELECT started_at, created_at FROM jobs WHERE worker_id = 'wkr_tree_part' AND parent_id IS NULL"
        " ORDER BY id DESC LIMIT 40) AS j"
    )
    return float(row[0])


def _connections(system: System) -> int:
    (row,) = system.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND left(application_name, 10) = 'ava worker'"
    )
    return int(row[0])


def _messages(system: System) -> int:
    client = redis.Redis.from_url(system.broker_url)
    lists = [key for key in client.scan_iter() if client.type(key) == b"list"]
    return sum(int(client.llen(key)) for key in lists) + int(client.hlen("unacked"))


def map_children(system: System, *, count: int) -> bool:
    """Map over many items, max 50 concurrently. Prints the parent's memory and runs, and the max unfinished
    children."""
    at_once = 50
    began = time.monotonic()
    small = system.trigger("wkr_tree_map", input={"children": at_once, "at_once": at_once})["id"]
    baseline = system.wait_for(small, "completed", seconds=300)["output"]["max_rss_mib"]
    id_ = system.trigger("wkr_tree_map", input={"children": count, "at_once": at_once})["id"]
    job = system.wait_for(id_, "completed", seconds=3600)
    assert job["output"]["sum"] == count * (count - 1) // 2
    (row,) = system.query(_UNFINISHED_AT_ONCE.replace("{count}", str(count)))
    memory, widest, is_in_order = job["output"]["max_rss_mib"], int(row[0]), bool(row[1])
    runs = system.query("SELECT max(run_no) FROM jobs WHERE worker_id = 'wkr_tree_map'")[0][0]
    print(
        f"map of {count} with {at_once} at once: {time.monotonic() - began:.0f} s, {runs} runs, the parent has "
        f"{memory:.0f} MiB at most ({baseline:.0f} with {at_once} children), {widest} unfinished at once, started "
        f"{'in' if is_in_order else 'out of'} their order"
    )
    return widest <= at_once and is_in_order and memory < baseline + 64


_UNFINISHED_AT_ONCE = """
WITH children AS (
    SELECT created_at, completed_at, id, row_number() OVER (ORDER BY id) AS n
    FROM jobs WHERE worker_id = 'wkr_tree_part' AND parent_id IS NOT NULL ORDER BY id DESC LIMIT {count}
), moments AS (
    SELECT created_at AS at, 1 AS change FROM children UNION ALL SELECT completed_at, -1 FROM children
)
SELECT (SELECT max(total) FROM (SELECT sum(change) OVER (ORDER BY at, change) AS total FROM moments) AS t),
    (SELECT bool_and(name = 'wkr_tree_part[' || n - 1 || ']') FROM (
        SELECT name, row_number() OVER (ORDER BY id) AS n FROM jobs
        WHERE parent_id = (SELECT id FROM jobs WHERE worker_id = 'wkr_tree_map' ORDER BY id DESC LIMIT 1)) AS named)
"""


def _trigger(system: System, jobs: list[dict[str, Any]]) -> list[str]:
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": jobs}, timeout=120)
    assert response.status_code == 201, response.text
    return [job["id"] for job in response.json()["data"]]


#: Each measure with its default number, which `--count` overrides.
MEASURES: Mapping[str, tuple[Callable[..., bool], int]] = {
    "callback": (callback, 20),
    "waits": (waits, 5_000),
    "map": (map_children, 10_000),
}


def main() -> int:
    """Print the figures. Returns 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description="Measure jobs that belong together.")
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="default: all")
    parser.add_argument("--count", type=int, help="tries, jobs that wait, or children; default: as promised")
    options = parser.parse_args()
    missed = []
    for name in options.measures or MEASURES:
        measure, count = MEASURES[name]
        with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as server:
            broker = fresh_redis_url(server)
            system = System(Path(folder), database_url=postgres.url, broker_url=broker, api_processes=1)
            system.run("db", "upgrade")
            try:
                system.start(environ={"AVA_HANDLERS": "bench.tree_handlers"})
                if not measure(system, count=options.count or count):
                    missed.append(name)
            finally:
                system.stop()
    print(f"missed: {', '.join(missed)}" if missed else "every bound is kept")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
