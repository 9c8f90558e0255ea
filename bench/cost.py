"""Measure the cost of one job: CPU per process, WAL and disk in PostgreSQL."""

from __future__ import annotations

import psutil

from bench.servers import Database, until
from bench.systems import Ours
from bench.table import Figures


def cost(system: Ours, *, jobs: int) -> Figures:
    """Measure the cost of a no-op job with four log lines during a drain, and of inserting a thousand at a time."""
    system.clear()
    postgres, position = _postgres_seconds(system), _wal(system)
    system.fill(jobs)
    inserting, inserted = (_postgres_seconds(system) - postgres) / jobs, (_wal(system) - position) / jobs
    with system.workers() as pids:
        until(lambda: system.finished() > 0)
        before, done = _cpu(system, pids), system.finished()
        wal, blocks = _wal(system), _transactions(system)
        until(lambda: system.finished() >= jobs, seconds=300, every=0.2)
        after, count = _cpu(system, pids), jobs - done
        written, commits = _wal(system) - wal, _transactions(system) - blocks
    system.database.value("VACUUM (ANALYZE) jobs")
    draining = {name: (after[name] - before[name]) / count for name in after}
    return {
        **{f"CPU ms in {name}": seconds * 1000 for name, seconds in draining.items()},
        "CPU ms in PostgreSQL for the insert": inserting * 1000,
        "jobs/s of a core of PostgreSQL, insert included": 1 / (inserting + draining["PostgreSQL"]),
        "transactions": commits / count,
        "bytes of WAL": written / count,
        "bytes of WAL of the insert": inserted,
        "bytes on disk, indexes included": _disk(system) / jobs,
    }


def _cpu(system: Ours, pids: list[int]) -> dict[str, float]:
    worker, dispatcher = (psutil.Process(pid) for pid in pids)
    children = [seconds_of(child) for child in worker.children()]
    return {
        "the node's parent": seconds_of(worker),
        "its processes": sum(children),
        "the dispatcher": seconds_of(dispatcher),
        "PostgreSQL": _postgres_seconds(system),
    }


def _postgres_seconds(system: Ours) -> float:
    return sum(seconds_of(each) for each in postgres_processes(system.database))


def seconds_of(process: psutil.Process) -> float:
    """Return the processor time of a process."""
    times = process.cpu_times()
    return times.user + times.system


def postgres_processes(database: Database) -> list[psutil.Process]:
    """Return the server and its processes, except this connection's."""
    backend = psutil.Process(database.value("SELECT pg_backend_pid()"))
    server = backend.parent()
    assert server is not None
    return [server, *(each for each in server.children() if each.pid != backend.pid)]


def _wal(system: Ours) -> float:
    return float(system.database.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def _transactions(system: Ours) -> float:
    # Busy sessions report late; over thousands of jobs it does not matter.
    statement = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return float(system.database.value(statement))


def _disk(system: Ours) -> float:
    lines = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('job_logs')"
    return float(system.database.value(f"SELECT pg_total_relation_size('jobs') + ({lines})"))
