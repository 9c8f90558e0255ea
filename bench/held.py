"""`python -m bench.held`: jobs come and go while a long-running transaction keeps dead rows from being vacuumed.

Jobs are triggered in bulks of 100 at half the drain rate that this machine reached just before without the transaction.
A row of the table is a minute: the jobs created and ended in it, the backlog at its end, the start latencies of the
jobs that ended in it, and the sizes of the table of jobs and its indexes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from threading import Event, Thread

import psycopg2

from bench.load import generate
from bench.servers import Servers, until
from bench.systems import Ours

_BULK = 100
#: Jobs of the preceding drain, which determines this machine's rate.
_DRAINED = 20_000
_WAITED = """
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms)
FROM (
    SELECT 1000 * extract(epoch FROM started_at - created_at) AS ms FROM jobs
    WHERE completed_at >= now() - interval '60 seconds'
) AS ended
"""
_GROWN = """
SELECT n_dead_tup, pg_total_relation_size(relid) / 1048576.0 FROM pg_stat_user_tables WHERE relname = 'jobs'
"""
_COLUMNS = ("minute", "came/s", "went/s", "waiting", "start p50 ms", "start p99 ms", "dead rows", "MiB of jobs")


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    """Keep a transaction open that has read the jobs."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT id FROM jobs LIMIT 1")
            yield
    finally:
        connection.close()


def _trigger(port: int, request: bytes, rate: float, has_ended: Event, triggered: list[int]) -> None:
    """Trigger bulks at a rate of jobs per second; late ones immediately."""
    began = time.monotonic()
    for number in range(1, 10**9):
        if has_ended.wait(max(0.0, began + number * _BULK / rate - time.monotonic())):
            return
        assert generate(port, lambda _: request, requests=1, connections=1).refused == 0
        triggered[0] += _BULK


def _minutes(system: Ours, port: int, rate: float, minutes: int) -> None:
    has_ended, triggered = Event(), [0]
    thread = Thread(target=_trigger, args=(port, system.bulk_request(_BULK), rate, has_ended, triggered))
    began, first = time.monotonic(), _ended(system)
    came, went = 0, 0
    thread.start()
    try:
        for minute in range(1, minutes + 1):
            time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
            now_came, now_went = triggered[0], _ended(system) - first
            figures = (
                minute,
                (now_came - came) / 60,
                (now_went - went) / 60,
                now_came - now_went,
                *system.database.rows(_WAITED)[0],
                *system.database.rows(_GROWN)[0],
            )
            print("| " + " | ".join(f"{value or 0:,.0f}" for value in figures) + " |", flush=True)
            came, went = now_came, now_went
    finally:
        has_ended.set()
        thread.join()


def _ended(system: Ours) -> int:
    # The sequence numbers each end, so no count is needed.
    return int(system.database.value("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM job_ends"))


def main() -> None:
    """Print a row for each minute."""
    parser = argparse.ArgumentParser(prog="python -m bench.held", description=__doc__)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--rate", type=float, help="jobs a second (default: half of a drain just before)")
    parser.add_argument("--broker", default="redis", choices=("redis", "rabbitmq"))
    parser.add_argument("--free", action="store_true", help="without the transaction, to compare")
    given = parser.parse_args()
    with ExitStack() as stack:
        servers = Servers(stack)
        system = Ours(servers, given.broker)
        rate = given.rate
        if rate is None:
            system.fill(_DRAINED)
            with system.workers():
                until(lambda: system.finished() >= _DRAINED, seconds=300)
            rate = _DRAINED / system.finishing_seconds() / 2
            system.clear()
        kind = "no transaction is open" if given.free else "a transaction stays open"
        print(f"{rate:,.0f} jobs a second come in bulks of {_BULK}; {kind}\n", flush=True)
        print(f"| {' | '.join(_COLUMNS)} |\n|{'---:|' * len(_COLUMNS)}", flush=True)
        with system.api() as port, system.workers(), nullcontext() if given.free else _snapshot(system.database.url):
            _minutes(system, port, rate, given.minutes)


if __name__ == "__main__":
    main()
