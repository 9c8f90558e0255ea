"""Measure the use and the violations of limits, and the starts of a paused queue."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path

import psutil

from ava.domain.access.actor import SYSTEM
from ava.domain.jobs.job import JobSpec
from ava.store.engine.database import Database as StoreDatabase
from ava.store.fleet import queues
from bench.fairness import caller, running
from bench.servers import processes, until
from bench.systems import Ours
from bench.table import Figures
from harness.new_jobs import make_jobs

_NAP_SECONDS = 0.05
_LIMIT = 5
_NODES, _CHILDREN = 2, 4
_DISPATCHER = ["ava.cli.main", "dispatcher"]
_TENANT = "ten_a"
#: Seconds between two kills. Every fortieth kills a node, whose permits are free again before the next one's are lost,
#: and one in between kills a dispatcher.
_KILL_SECONDS = 0.5


def limit(system: Ours, *, seconds: float, kills: int) -> Figures:
    """Measure the use of a limit of 5 by jobs of 50 ms, and whether it is ever exceeded while processes are killed.

    A job holds one of five file locks, which the kernel releases when its process dies: so real effects are counted.
    """
    system.clear()
    folder = Path(tempfile.mkdtemp(dir=system.folder))
    folder.chmod(0o777)
    spec = JobSpec(worker_id="wkr_limited", input_json=json.dumps({"seconds": _NAP_SECONDS, "folder": str(folder)}))
    jobs = round(2 * (seconds + kills * _KILL_SECONDS) * _LIMIT / _NAP_SECONDS)
    with ExitStack() as stack:
        fleet = _Fleet(system, stack)
        for first in range(0, jobs, 1000):
            system.jobs.trigger(caller(_TENANT), [spec] * min(1000, jobs - first))
        until(lambda: system.finished_of(_TENANT) > 20)
        used = _use(system, seconds)
        held = _UsedPermits(folder)
        held.start()
        fleet.kill(kills)
        # A permit that a kill left is free again within this time.
        time.sleep(15 if kills else 0)
        held.stop()
        assert system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'") > 0
    violations = folder / "violations"
    return used | {
        "kills": kills,
        "longest time with fewer than 5, s": held.longest,
        "times more than 5 ran": len(violations.read_text().splitlines()) if violations.exists() else 0,
    }


def _use(system: Ours, seconds: float) -> Figures:
    began = system.database.value("SELECT extract(epoch FROM now())::float8")
    time.sleep(seconds)
    ran, ended = system.database.rows(
        "SELECT sum(extract(epoch FROM least(coalesce(completed_at, 'infinity'), to_timestamp(%s))"
        " - greatest(started_at, to_timestamp(%s))))::float8, count(completed_at)"
        " FROM jobs WHERE started_at < to_timestamp(%s) AND coalesce(completed_at, 'infinity') > to_timestamp(%s)",
        began + seconds,
        began,
        began + seconds,
        began,
    )[0]
    return {
        "share of the limit used": ran / seconds / _LIMIT,
        "share in handlers": ended * _NAP_SECONDS / seconds / _LIMIT,
        "jobs/s": ended / seconds,
    }


class _Fleet:
    """Two dispatchers and nodes, each restarted after a kill."""

    def __init__(self, system: Ours, stack: ExitStack) -> None:
        self._system = system
        self._stack = stack
        system.database.value("DELETE FROM nodes")
        self._dispatchers = [self._start(_DISPATCHER) for _ in range(2)]
        self._nodes = [self._start_node() for _ in range(_NODES)]
        until(lambda: system.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL") == _NODES)

    def _start(self, command: list[str]) -> int:
        (pid,) = self._stack.enter_context(processes(self._system.folder, self._system.environ, command))
        return pid

    def _start_node(self) -> int:
        return self._start(["ava.cli.main", "worker", "-c", str(_CHILDREN)])

    def kill(self, kills: int) -> None:
        """Kill children, and sometimes a node or the active dispatcher, one after the other."""
        for number in range(kills):
            if number % 40 == 19:
                # The longest running one is active.
                os.kill(self._dispatchers.pop(0), signal.SIGKILL)
                self._dispatchers.append(self._start(_DISPATCHER))
            elif number % 40 == 9:
                index = random.randrange(_NODES)
                os.kill(self._nodes[index], signal.SIGKILL)
                self._nodes[index] = self._start_node()
            else:
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    random.choice(psutil.Process(random.choice(self._nodes)).children()).kill()
            time.sleep(_KILL_SECONDS)


class _UsedPermits(threading.Thread):
    """Polls how many of the five locks are held, from the kernel's table, without taking one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._has_ended = threading.Event()
        #: The longest time with fewer than five, in seconds.
        self.longest = 0.0

    def run(self) -> None:
        """Poll every 5 ms."""
        since = time.monotonic()
        while not self._has_ended.wait(0.005):
            permits = {str(permit.stat().st_ino) for permit in self._folder.glob("permit-*")}
            held = {line.split()[5].rpartition(":")[2] for line in Path("/proc/locks").read_text().splitlines()}
            self.longest = max(self.longest, time.monotonic() - since)
            if len(permits & held) == _LIMIT:
                since = time.monotonic()

    def stop(self) -> None:
        """End the watch."""
        self._has_ended.set()
        self.join()


def rate(system: Ours, *, seconds: float) -> Figures:
    """Measure the starts per minute under a rate of 100 a minute; the active one of two dispatchers is killed."""
    system.clear()
    system.jobs.trigger(caller(_TENANT), [JobSpec(worker_id="wkr_rated", input_json="{}")] * round(seconds * 3))
    with running(system, 2) as (active, _), processes(system.folder, system.environ, _DISPATCHER):
        until(lambda: system.finished_of(_TENANT))
        time.sleep(seconds / 2)
        os.kill(active, signal.SIGKILL)
        time.sleep(seconds / 2)
    rows = system.database.rows("SELECT extract(epoch FROM started_at)::float8 FROM jobs WHERE started_at IS NOT NULL")
    starts = sorted(row[0] for row in rows)
    most = max(bisect_left(starts, start + 60) - number for number, start in enumerate(starts))
    within = bisect_left(starts, starts[0] + seconds)
    return {"most in any minute": most, "share of the rate used": within / (100 * seconds / 60), "failovers": 1}


def pause(system: Ours, *, published: int) -> Figures:
    """Measure the starts after pausing a queue with all messages in the broker, and the order of the rest."""
    system.clear()
    database = StoreDatabase(system.environ["DATABASE_URL"], name="bench")
    spec = JobSpec(worker_id="wkr_nap", input_json='{"seconds":0.005}')
    with database.connect() as connection:
        jobs = make_jobs(connection, [spec] * published, tenant_id=_TENANT, max_published=published)
    system.publisher.publish(jobs)
    # One process, so that the order of starts is the order of fair queueing.
    with running(system, 1):
        until(lambda: system.finished_of(_TENANT) > 20)
        with database.connect() as connection:
            queues.pause(connection, queue="default", by=SYSTEM)
        paused_at = system.database.value("SELECT paused_at FROM queues")
        time.sleep(5)
        late, last = system.database.rows(
            "SELECT count(*) FILTER (WHERE started_at > %s + interval '2 seconds'),"
            " coalesce(extract(epoch FROM max(started_at) FILTER (WHERE started_at > %s) - %s), 0)::float8 FROM jobs",
            paused_at,
            paused_at,
            paused_at,
        )[0]
        left = system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'")
        with database.connect() as connection:
            queues.resume(connection, queue="default")
        until(lambda: system.finished_of(_TENANT) == published, every=0.1)
    database.close()
    disorder = system.database.value(
        "SELECT count(*) FROM (SELECT id < lag(id) OVER (ORDER BY started_at) AS is_late FROM jobs) AS s WHERE is_late"
    )
    return {
        "waited when it was paused": left,
        "last start after the pause, s": last,
        "starts later than 2 s": late,
        "starts before an older job": disorder,
    }
