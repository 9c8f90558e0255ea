"""Turns of tenants: the wait of one job behind another tenant's backlog, the shares, and what a recall costs."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ava.domain.caller import Caller, Role
from ava.domain.job import JobSpec
from ava.store.engine.database import Database as StoreDatabase
from ava.store.jobs import client_moves, turns
from bench.load import percentile
from bench.servers import processes, until
from bench.systems import Ours
from bench.table import Figures

__all__ = ["limit", "look", "recall", "shares", "single_job"]

_NAP_SECONDS = 0.05
_NAP = f'{{"seconds":{_NAP_SECONDS}}}'
_WAIT = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT %s || CASE WHEN %s > 1 THEN (n %% %s)::text ELSE '' END, 'wkr_nap', 'manual', 5, 'default', %s, 'usr_bench', 1
FROM generate_series(1, %s) AS n
"""


def single_job(system: Ours, *, waiting: int, tries: int, children: int) -> Figures:
    """How long a tenant's only job waits for its start while another tenant has `waiting` jobs of 50 ms."""
    _wait(system, "ten_a", waiting)
    started: list[str] = []
    with _running(system, children):
        until(lambda: system.finished_of("ten_a") > 4 * children)
        for _ in range(tries):
            (job,) = system.jobs.trigger(_caller("ten_b"), [JobSpec(worker_id="wkr_nap", input_json=_NAP)])
            started.append(job.id)
            _await_finished(system, "ten_b", len(started))
            # At another moment of the feed's interval each time.
            time.sleep(0.3 + 0.013 * (len(started) % 10))
        assert system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'") > 0
    rows = system.database.rows(
        "SELECT extract(epoch FROM started_at - created_at)::float8 * 1000 FROM jobs WHERE tenant_id = 'ten_b'"
    )
    waits = [row[0] for row in rows]
    return {"p50 ms": percentile(waits, 50), "p99 ms": percentile(waits, 99), "most ms": max(waits)}


def shares(system: Ours, *, seconds: float) -> Figures:
    """The shares of three tenants with weights 1, 2 and 4; and Jain's index of 50 tenants with backlogs by Zipf."""
    system.clear()
    system.database.value("DELETE FROM tenant_limits")
    for weight in (1, 2, 4):
        _add(system, f"ten_w{weight}", round(200 * seconds))
        system.database.value(
            "INSERT INTO tenant_limits (tenant_id, weight, updated_by) VALUES (%s, %s, 'usr_bench')",
            f"ten_w{weight}",
            weight,
        )
    with _running(system, 4):
        time.sleep(seconds)
    spent = _spent(system)
    whole = sum(spent.values())
    system.database.value("DELETE FROM tenant_limits")
    found = {f"share of weight {w}, of its due": spent[f"ten_w{w}"] / whole * 7 / w for w in (1, 2, 4)}
    system.clear()
    # By Zipf, but enough for an equal share each.
    least = round(seconds * 4 / _NAP_SECONDS / 50 * 1.5)
    for number in range(1, 51):
        _add(system, f"ten_z{number}", least + 5000 // number)
    with _running(system, 4):
        time.sleep(seconds)
    values = list(_spent(system).values())
    return found | {"Jain's index of 50 tenants": sum(values) ** 2 / (50 * sum(value**2 for value in values))}


def recall(system: Ours, *, messages: int) -> Figures:
    """What messages cost whose jobs were recalled: the time between the starts of a job before them and one after."""
    system.clear()
    database = StoreDatabase(system.environ["DATABASE_URL"], name="bench")
    spec = JobSpec(worker_id="wkr_nap", input_json='{"seconds":0}')
    with database.connect() as connection:
        jobs = client_moves.insert(
            connection,
            tenant_id="ten_a",
            user_id="usr_bench",
            specs=[spec] * (messages + 1),
            most_published=messages + 1,
        )
        system.publisher.publish(jobs)
        # All but the first, which is published before them.
        recalled = turns.recall(connection, queue="default", priority=5, limit=messages)
        assert len(recalled) == messages
        connection.exec_driver_sql("UPDATE jobs SET run_at = 'infinity' WHERE published_at IS NULL")
    with database.connect() as connection:
        last = client_moves.insert(connection, tenant_id="ten_b", user_id="usr_bench", specs=[spec])
    system.publisher.publish(last)
    with _running(system, 2):
        until(lambda: system.finished_of("ten_b") == 1)
    database.close()
    (took,) = system.database.rows(
        "SELECT extract(epoch FROM max(started_at) - min(started_at))::float8 * 1000 FROM jobs WHERE status='completed'"
    )[0]
    return {"stale messages": messages, "ms of two processes": took, "ms each": took / messages}


def limit(system: Ours, *, seconds: float, kills: int, children: int = 8) -> Figures:
    """How far a limit of 5 is used by jobs of 50 ms, and whether it is ever exceeded while processes are killed.

    A job holds one of five locks of files, which the kernel frees when its process dies: it is the effect that counts.
    """
    system.clear()
    folder = Path(tempfile.mkdtemp(dir=system.folder))
    folder.chmod(0o777)
    spec = JobSpec(worker_id="wkr_limited", input_json=json.dumps({"seconds": _NAP_SECONDS, "folder": str(folder)}))
    with _running(system, children) as pids:
        for _ in range(max(1, round(2 * seconds * 5 / _NAP_SECONDS / 1000))):
            system.jobs.trigger(_caller("ten_a"), [spec] * 1000)
        until(lambda: system.finished_of("ten_a") > 20)
        rate = _rate(system, seconds)
        stood_still = _kill(system, pids[1], kills)
    violations = folder / "violations"
    return {
        "jobs/s": rate,
        "share of the limit used": rate * _NAP_SECONDS / 5,
        "kills of children": kills,
        "longest pause between ends, s": stood_still,
        "times more than 5 ran": len(violations.read_text().splitlines()) if violations.exists() else 0,
    }


def _rate(system: Ours, seconds: float) -> float:
    done, began = system.finished_of("ten_a"), time.monotonic()
    time.sleep(seconds)
    return (system.finished_of("ten_a") - done) / (time.monotonic() - began)


def _kill(system: Ours, node: int, kills: int) -> float:
    """Kill one child of a node after the other. Returns the longest time in which no job ended, in seconds."""
    longest, done, since = 0.0, system.finished_of("ten_a"), time.monotonic()
    killed, next_at = 0, time.monotonic()
    while killed < kills or time.monotonic() < next_at:
        if killed < kills and time.monotonic() >= next_at:
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                random.choice(psutil.Process(node).children()).kill()
            killed, next_at = killed + 1, time.monotonic() + 0.3
        time.sleep(0.02)
        if (now_done := system.finished_of("ten_a")) != done:
            longest, done, since = max(longest, time.monotonic() - since), now_done, time.monotonic()
    return longest


def look(system: Ours, *, waiting: int, tenants: int, seconds: float) -> Figures:
    """What the feed costs while a million jobs of 10,000 tenants wait: its looks, and its share of a core."""
    from statistics import quantiles

    from ava.broker.app import make_app
    from ava.broker.publisher import Publisher
    from ava.dispatcher.window import WindowFeed
    from ava.settings import load

    system.clear()
    _add(system, "ten_", waiting, tenants)
    system.database.value("VACUUM (ANALYZE) jobs")
    settings = load(system.environ)
    database, publisher = StoreDatabase(settings.database_url, name="bench"), Publisher(make_app(settings), settings)
    feed = WindowFeed(database, publisher, window=2000, node_dead_seconds=14)
    took: list[float] = []
    began, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        # As if two processes took jobs of 50 ms.
        system.database.value(
            "UPDATE jobs SET status = 'cancelled', completed_at = now(), cancel_requested_at = now(),"
            " cancelled_by = 'usr_bench' WHERE id IN (SELECT id FROM jobs WHERE queue = 'default' AND priority = 5"
            " AND status = 'queued' AND run_at IS NULL AND published_at IS NOT NULL ORDER BY published_at LIMIT 4)"
        )
        start = time.perf_counter()
        feed.run_once(0)
        took.append((time.perf_counter() - start) * 1000)
        time.sleep(feed.every_seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    publisher.close()
    database.close()
    return {"look p50 ms": percentile(took, 50), "look p99 ms": quantiles(took, n=100)[98], "% of a core": share * 100}


def _await_finished(system: Ours, tenant: str, jobs: int) -> None:
    until(lambda: system.finished_of(tenant) == jobs, every=0.01)


def _wait(system: Ours, tenant: str, jobs: int) -> None:
    system.clear()
    _add(system, tenant, jobs)
    system.database.value("VACUUM (ANALYZE) jobs")


def _add(system: Ours, tenant: str, jobs: int, tenants: int = 1) -> None:
    system.database.value(_WAIT, tenant, tenants, tenants, _NAP, jobs)


def _spent(system: Ours) -> dict[str, float]:
    """Returns the seconds of processor time that each tenant has had."""
    return dict(
        system.database.rows(
            "SELECT tenant_id, sum(extract(epoch FROM coalesce(completed_at, now()) - started_at))::float8 FROM jobs"
            " WHERE started_at IS NOT NULL GROUP BY tenant_id"
        )  # type: ignore[arg-type]
    )


def _caller(tenant: str) -> Caller:
    return Caller(tenant_id=tenant, user_id="usr_bench", role=Role.TENANT_SYSTEM_ADMIN)


@contextmanager
def _running(system: Ours, children: int) -> Iterator[list[int]]:
    """Run a dispatcher and a node; the block gets their process ids."""
    system.database.value("DELETE FROM nodes")
    worker = ["ava.cli.main", "worker", "-c", str(children)]
    with processes(system.folder, system.environ, ["ava.cli.main", "dispatcher"], worker) as pids:
        until(lambda: system.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL"))
        yield pids
