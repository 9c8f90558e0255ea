"""Measure cancels: around the end of jobs, their latency, and what many leave behind.

The tests run the same in short forms (tests/acceptance/test_cancel_figures.py).
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import requests

from ava.domain import ids
from ava.store.engine.database import Database
from ava.store.jobs.transitions.cancel import cancel as cancel_job
from bench.load import percentile
from bench.run import Run
from bench.servers import running_system
from bench.table import BASELINE, OURS
from harness.polling import wait_until
from harness.system import HEADERS, System

_HANDLERS = {"AVA_HANDLERS": "tests.acceptance.handlers"}


# The storm -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Storm:
    """The result of a storm."""

    #: The final statuses of the cancelled jobs, and the responses to their cancel calls.
    targets: Counter[str]
    answers: Counter[int]
    #: Other jobs that did not simply complete, and records that contradict their log or their cancel's response.
    harmed: list[str]
    contradictions: list[str]
    seconds: float


def storm(system: System, *, count: int) -> Storm:
    """Cancel `count` jobs at random times around their end, among equally many others."""
    began = time.monotonic()
    jobs = list(_trigger(system, 2 * count))
    targets = set(jobs[::2])
    answers = _cancel_around_the_end(system, targets)
    rows = _await_all(system, len(jobs))
    others = [row for row in rows if row["id"] not in targets]
    return Storm(
        targets=Counter(row["status"] for row in rows if row["id"] in targets),
        answers=Counter(answers.values()),
        harmed=[str(row) for row in others if not _is_unharmed(row)],
        contradictions=[str(row) for row in rows if not _is_consistent(row, answers.get(row["id"]))],
        seconds=time.monotonic() - began,
    )


def _trigger(system: System, count: int) -> Iterator[str]:
    seconds = (random.uniform(0.002, 0.03) for _ in range(count))
    for batch in _batched(seconds, 500):
        entries = [{"worker_id": "wkr_t_brief", "input": {"seconds": each}} for each in batch]
        response = system.post("/v1/ava/jobs/bulk", json={"jobs": entries})
        response.raise_for_status()
        yield from (record["id"] for record in response.json()["data"])


def _batched(values: Iterator[float], size: int) -> Iterator[tuple[float, ...]]:
    while batch := tuple(itertools.islice(values, size)):
        yield batch


def _cancel_around_the_end(system: System, targets: set[str]) -> dict[str, int]:
    """Cancel each target shortly after it was seen running. Returns the status of each call."""
    answers: dict[str, int] = {}
    local = threading.local()

    def cancel(job_id: str) -> None:
        time.sleep(random.uniform(0, 0.02))
        session = getattr(local, "session", None) or requests.Session()
        local.session = session
        response = session.post(f"{system.url}/v1/ava/jobs/{job_id}/cancel", headers=HEADERS, timeout=30)
        answers[job_id] = response.status_code

    connection = psycopg2.connect(system.database_url)
    connection.autocommit = True
    seen: set[str] = set()
    with ThreadPoolExecutor(8) as executor, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT id::text FROM jobs WHERE status = 'running'")
            running = {ids.encode("job", row[0]) for row in cursor.fetchall()}
            for job_id in (running & targets) - seen:
                seen.add(job_id)
                executor.submit(cancel, job_id)
            if not running:
                cursor.execute("SELECT 1 FROM jobs WHERE status = 'queued' LIMIT 1")
                if cursor.fetchone() is None:
                    break
            time.sleep(0.003)
    connection.close()
    return answers


def _await_all(system: System, count: int) -> list[dict[str, Any]]:
    final = "SELECT count(*) FROM jobs WHERE completed_at IS NOT NULL"
    wait_until(lambda: system.query(final)[0][0] >= count, seconds=60)
    statement = """
        SELECT j.id::text, j.status, j.attempt, j.run_no, j.cancel_requested_at IS NOT NULL,
               (SELECT array_agg(l.msg ORDER BY l.seq) FROM job_lines AS l
                WHERE l.tenant_id = j.tenant_id AND l.job_id = j.id)
        FROM jobs AS j ORDER BY j.id"""
    names = ("id", "status", "attempt", "run_no", "is_asked", "messages")
    rows = [dict(zip(names, row, strict=True)) for row in system.query(statement)]
    return [row | {"id": ids.encode("job", row["id"])} for row in rows]


def _is_unharmed(row: dict[str, Any]) -> bool:
    """Its run number may be higher: claimed runs that wait too long behind others return to the queue."""
    return (row["status"], row["attempt"], len(row["messages"] or ())) == ("completed", 1, 3)


def _is_consistent(row: dict[str, Any], response: int | None) -> bool:
    """Return True if the record, the log and the response of the cancel call agree."""
    is_cancelled = row["status"] == "cancelled"
    agrees = row["is_asked"] == is_cancelled == (response == 200)
    if row["attempt"] == 0:
        # Cancelled in the queue, to which its claimed run had returned before its handler.
        return agrees and is_cancelled and not row["messages"]
    messages = row["messages"] or [""]
    first, last = messages[0], messages[-1]
    return (
        agrees
        and first == "Worker handler started"
        and last.startswith(f"Handler {row['status']}")
        and messages.count(first) == row["attempt"] == 1
    )


# Latency -------------------------------------------------------------------------------------------------------------


def latencies(system: System, *, count: int, folder: Path, is_cut_off: bool = False) -> list[float]:
    """Return the milliseconds from the cancel call to the handler's `finally`, one job after the other.

    `is_cut_off`: send no message; the node finds the cancel in the database.
    """
    cancel = _cancel_in_database if is_cut_off else _cancel_by_call
    found = []
    with cancel(system) as act:
        for number in range(count):
            file = folder / f"words-{is_cut_off}-{number}"
            worker_id = ("wkr_t_wait", "wkr_t_wait_async")[number % 2]
            job = system.trigger(worker_id, input={"file": str(file)})
            wait_until(lambda file=file: "begin" in _words(file))
            # At a random time of the node's interval of a second.
            time.sleep(random.uniform(0, 1 if is_cut_off else 0.02))
            asked = time.time()
            act(job["id"])
            wait_until(lambda file=file: "finally" in _words(file))
            found.append((_words(file)["finally"] - asked) * 1000)
            assert system.wait_for(job["id"])["status"] == "cancelled"
    return found


@contextmanager
def _cancel_by_call(system: System) -> Iterator[Callable[[str], Any]]:
    yield system.cancel


@contextmanager
def _cancel_in_database(system: System) -> Iterator[Callable[[str], Any]]:
    database = Database(system.database_url, name="bench")

    def act(job_id: str) -> None:
        with database.connect() as connection:
            assert cancel_job(connection, tenant_id="ten_test", user_id="usr_test", job_id=job_id)

    yield act
    database.close()


def _words(file: Path) -> dict[str, float]:
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return {word: float(at) for word, _, at in lines}


# Leaks ---------------------------------------------------------------------------------------------------------------


def leaks(system: System, *, count: int, killed: int, folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the node's resources before and after `count` cancels, of which `killed` are enforced by SIGKILL."""
    # Replace both processes first, because a later one inherits what its node has opened since it started.
    _cancel_some(system, ["wkr_t_stubborn"] * _processes(system), folder)
    _warm_up(system)
    before = _holdings(system)
    for batch in range(count // 20):
        # Cancel small batches, so that the first job has begun; of a large batch most would still wait for a process.
        kinds = [_KINDS[n % len(_KINDS)] for n in range(20)]
        kinds[0] = "wkr_t_stubborn" if batch < killed else kinds[0]
        _cancel_some(system, kinds, folder)
    _warm_up(system)
    return before, _holdings(system)


def _cancel_some(system: System, kinds: list[str], folder: Path) -> None:
    file = folder / "words"
    file.unlink(missing_ok=True)
    jobs = [system.trigger(kind, input={"file": str(file)})["id"] for kind in kinds]
    if set(kinds) == {"wkr_t_stubborn"}:
        wait_until(lambda: file.exists() and file.read_text().count("begin") == len(kinds))
    for job_id in jobs:
        time.sleep(random.uniform(0, 0.02))
        assert system.cancel(job_id).status_code == 200
    for job_id in jobs:
        assert system.wait_for(job_id)["status"] == "cancelled"


_KINDS = ("wkr_t_wait", "wkr_t_wait_async", "wkr_t_starts", "wkr_t_look", "wkr_t_own_signal_async")


def _warm_up(system: System) -> None:
    for job in [system.trigger("wkr_t_nothing") for _ in range(30)]:
        assert system.wait_for(job["id"])["status"] == "completed"
    # Ended processes may take a moment to disappear.
    wait_until(lambda: len(psutil.Process(system.workers[0].pid).children(recursive=True)) == _processes(system))


def _processes(system: System) -> int:
    return int(system.query("SELECT processes FROM nodes WHERE stopped_at IS NULL")[0][0])


def _holdings(system: System) -> dict[str, int]:
    node = psutil.Process(system.workers[0].pid)
    children = node.children(recursive=True)
    return {
        "processes": len(children),
        "descriptors of the node": node.num_fds(),
        "descriptors of its processes, at most": max(child.num_fds() for child in children),
        "threads of its processes, at most": max(child.num_threads() for child in children),
        "temporary files": sum(
            1 for each in Path(system.environ["TMPDIR"]).rglob("*") if "ava-counters" not in str(each)
        ),
    }


# The measure ---------------------------------------------------------------------------------------------------------


def cancel(run: Run) -> None:
    """Cancel jobs around their end, measure from the call to the handler's `finally`, and what cancels leave behind."""
    with running_system(environ=_HANDLERS) as (system, folder):
        found = storm(system, count=run.count(1000, least=80))
        wrong = {"others harmed": len(found.harmed), "contradictory records": len(found.contradictions)}
        run.table.add("1,000 cancels around the end", OURS, {"cancelled": found.targets["cancelled"], **wrong})
        figures = {}
        for way, is_cut_off, count in (("message", False, 200), ("database alone", True, 40)):
            took = latencies(system, count=run.count(count, least=5), folder=folder, is_cut_off=is_cut_off)
            figures |= {f"by the {way}, p{percent} ms": percentile(took, percent) for percent in (50, 99)}
        run.table.add("cancel latency", OURS, figures)
        kinds = leaks(system, count=run.count(500, least=20), killed=run.count(20), folder=folder)
        for name, held in zip((BASELINE, OURS), kinds, strict=True):
            run.table.add("held by a node before and after 500 cancels", name, dict(held))
