"""`python -m chaos.fuzz [--requests 20000] [--large 5000] [--seed 1]`: malformed and hostile requests.

Four senders generate them randomly from the seed (`chaos.hostile`) and send them over raw sockets, while a node runs
the resulting jobs. Then one sender sends bodies of 1 to 16 MiB (`chaos.large_bodies`), each of which must get a
response within 2 s, times the number of processes per processor. Prints the responses by status, and exits with 1 for a
5xx, a malformed response, a traceback in a log, a half-written row, a row that no response mentioned, or growing memory
of the API.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from ava import settings as settings_module
from ava.domain import ids
from ava.store.engine import schema
from chaos.large_bodies import make_large
from chaos.sender import Sender
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import System

ENVIRON = {"AVA_HANDLERS": "tests.acceptance.handlers", "AVA_LOG_LEVEL": "WARNING"}
_SENDERS = 4
#: Max ratio of the memory in the second half to that in the first.
_MAX_GROWTH = 1.1
#: Min requests to judge memory; with fewer the processes are still warming up.
_MIN_JUDGED = 10_000
_MIN_JUDGED_LARGE = 1_000
#: Max seconds of a response to a large body, if each process has its own processor.
_MAX_SECONDS = 2.0
_ENDINGS = ("Handler completed in ", "Handler failed after ", "Handler cancelled after ")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The findings of one run."""

    statuses: Counter[int]
    jobs: int
    faults: list[str]
    #: The API's memory in MiB, averaged over the first and the second half of the time after the warm-up (the first
    #: quarter).
    first_mib: float
    second_mib: float
    seconds: float
    #: Ascending durations of responses in seconds.
    durations: list[float]


def fuzz(system: System, *, requests: int, seed: str) -> Findings:
    """Send requests to a system that was started with `ENVIRON`, and check its responses, rows and logs."""
    senders = [Sender(port=system.port, seed=f"{seed}-{number}") for number in range(_SENDERS)]
    return _run(system, senders, requests, min_judged=_MIN_JUDGED)


def fuzz_large(system: System, *, requests: int, seed: str) -> Findings:
    """Send requests with bodies of 1 to 16 MiB, with the same checks, and check the time of each response.

    They are sent one by one, so a response's time is the request's own work, without waiting for its tenant's others.
    """
    sender = Sender(port=system.port, seed=f"{seed}-large", make=make_large, max_seconds=_MAX_SECONDS)
    return _run(system, [sender], requests, min_judged=_MIN_JUDGED_LARGE)


def _run(system: System, senders: list[Sender], requests: int, *, min_judged: int) -> Findings:
    began = time.monotonic()
    with ThreadPoolExecutor(len(senders)) as threads:
        running = [threads.submit(_send, sender, requests // len(senders)) for sender in senders]
        samples = list(_memory(system, lambda: all(each.done() for each in running)))
        for each in running:
            each.result()
    first, second = _halves(samples)
    faults = [fault for sender in senders for fault in sender.faults]
    if requests >= min_judged and second > _MAX_GROWTH * first:
        faults.append(f"the API's memory grew from {first:.0f} to {second:.0f} MiB")
    created = {job_id: asked for sender in senders for job_id, asked in sender.created.items()}
    faults += _check_rows(system, created)
    return Findings(
        statuses=sum((sender.statuses for sender in senders), Counter()),
        jobs=len(created),
        faults=faults,
        first_mib=first,
        second_mib=second,
        seconds=time.monotonic() - began,
        durations=sorted(seconds for sender in senders for seconds in sender.durations),
    )


def _send(sender: Sender, requests: int) -> None:
    for number in range(requests):
        sender.send(number)
    sender.close()


def _memory(system: System, has_ended: Any) -> Iterator[float]:
    """Yield the API's memory in MiB, twice a second."""
    assert system.api
    while not has_ended():
        with suppress(psutil.NoSuchProcess):
            yield sum(child.memory_full_info().pss for child in system.api.children) / 2**20
        time.sleep(0.5)


def _halves(samples: list[float]) -> tuple[float, float]:
    later = samples[len(samples) // 4 :]
    middle = len(later) // 2
    if not middle:
        return 0.0, 0.0
    return sum(later[:middle]) / middle, sum(later[middle:]) / (len(later) - middle)


# The rows ------------------------------------------------------------------------------------------------------------


def _check_rows(system: System, created: dict[str, Any]) -> list[str]:
    """Return the faults in rows and logs, once every job that can start has ended."""
    due = "status = 'running' OR (status = 'queued' AND waits_for IS NULL)"
    wait_until(
        lambda: system.query(f"SELECT count(*) FROM jobs WHERE {due}")[0][0] == 0, seconds=120, what="all has run"
    )
    faults: list[str] = []
    found = system.query("SELECT id::text, input, output, status = 'completed' AND worker_id = 'wkr_t_echo' FROM jobs")
    stored = {ids.encode("job", id_): row for id_, *row in found}
    if unknown := set(stored) - set(created):
        faults.append(f"{len(unknown)} jobs that no response mentioned, such as {min(unknown)}")
    if lost := set(created) - set(stored):
        faults.append(f"{len(lost)} jobs whose trigger got 201 are missing, such as {min(lost)}")
    for job_id, (input_, output, is_echo) in stored.items():
        if created.get(job_id) is not None and _plain(created[job_id]) != _plain(input_):
            faults.append(f"{job_id} has another input than was sent")
        if is_echo and _plain(output) != _plain(input_):
            faults.append(f"{job_id} echoed {str(output)[:100]!r}")
    faults += [f"{count} {what}" for what, statement in _NEVER.items() if (count := system.query(statement)[0][0])]
    faults += [f"{process.log.name}: a traceback" for process in system.processes if "Traceback" in process.output]
    return faults


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


_CLOSED = " OR ".join(f"l.msg LIKE '{ending}%%'" for ending in _ENDINGS)
#: Queries that must find nothing, by the name of the fault.
_NEVER = {
    "keys that made no job": "SELECT count(*) FROM idempotency_keys WHERE cardinality(job_ids) = 0",
    "keys of jobs that do not exist": """
        SELECT count(*) FROM idempotency_keys AS k, unnest(k.job_ids) AS id
        WHERE NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.id = id)""",
    "log lines of no job": """
        SELECT count(*) FROM job_lines AS l WHERE NOT EXISTS (
            SELECT 1 FROM jobs AS j WHERE j.tenant_id = l.tenant_id AND j.id = l.job_id)""",
    "runs whose log has no beginning": """
        SELECT count(*) FROM jobs AS j WHERE j.run_no > 0 AND NOT EXISTS (
            SELECT 1 FROM job_lines AS l WHERE l.tenant_id = j.tenant_id AND l.job_id = j.id
                AND l.msg = 'Worker handler started')""",
    "final runs whose log has no end": f"""
        SELECT count(*) FROM jobs AS j WHERE j.run_no > 0 AND j.completed_at IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM job_lines AS l WHERE l.tenant_id = j.tenant_id AND l.job_id = j.id AND ({_CLOSED}))""",
    "jobs whose times run backwards": """
        SELECT count(*) FROM jobs WHERE started_at < created_at OR completed_at < coalesce(started_at, created_at)""",
    "jobs of another tenant": "SELECT count(*) FROM jobs WHERE tenant_id <> 'ten_test'",
    "sessions in the middle of a transaction": """
        SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND state LIKE 'idle in transaction%%' AND state_change < now() - interval '1 s'""",
}


def main() -> int:
    """Fuzz a system on servers of our own."""
    parser = argparse.ArgumentParser(prog="python -m chaos.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=5_000)
    parser.add_argument("--seed", default="1")
    given = parser.parse_args()
    with ExitStack() as stack:
        postgres, redis = stack.enter_context(running_postgres()), stack.enter_context(running_redis())
        urls = {"DATABASE_URL": postgres.url, "BROKER_URL": redis.url, "AVA_INTERNAL_SECRET": "of-all-the-tests"}
        schema.upgrade(settings_module.load(urls))
        system = System(stack.enter_context(private_folder()), database_url=postgres.url, broker_url=redis.url)
        stack.callback(system.stop)
        system.start(environ=ENVIRON)
        faults = 0
        if given.requests:
            _print(found := fuzz(system, requests=given.requests, seed=given.seed))
            faults += len(found.faults)
        if given.large:
            # The rows of the first part are already checked, and each part knows only its own jobs.
            for table in ("job_logs", "idempotency_keys", "jobs"):
                system.query(f"TRUNCATE {table} CASCADE")
            _print(found := fuzz_large(system, requests=given.large, seed=given.seed))
            faults += len(found.faults)
    return int(bool(faults))


def _print(found: Findings) -> None:
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.statuses.items()))
    p50, p99, most = (found.durations[int(part * (len(found.durations) - 1))] for part in (0.5, 0.99, 1))
    print(
        f"{sum(found.statuses.values()):,} requests in {found.seconds:.0f} s, {found.jobs:,} jobs\n"
        f"by status (0: the connection was closed without a response): {statuses}\n"
        f"memory of the API: {found.first_mib:.0f} MiB in the first half, {found.second_mib:.0f} MiB in the second\n"
        f"seconds to the response: p50 {p50:.3f}, p99 {p99:.3f}, most {most:.3f}"
    )
    for fault in found.faults[:30]:
        print(f"FAULT: {fault}")
    print(f"{len(found.faults)} faults")


if __name__ == "__main__":
    sys.exit(main())
