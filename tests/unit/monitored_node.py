"""A run monitor with real mailboxes and real processes, and a database and a store that only record."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ava.broker.refused_queues import Refusals
from ava.domain.jobs.job import LogLine, RunKey
from ava.errors import DatabaseUnavailable
from ava.node import mailbox
from ava.node.parent import run_monitor
from ava.node.parent.pool_runs import GivenRuns, PoolRuns, TrackedRun
from ava.node.parent.run_monitor import RunMonitor
from ava.node.run_board import CurrentRun, Phase, ProcessBoard, RunBoard
from ava.settings import load
from ava.store.fleet.nodes import NodeSpec, RunDirectives
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.polling import wait_until

ENVIRON = {
    "DATABASE_URL": "postgresql://ava@127.0.0.1:1/none",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "AVA_HEARTBEAT_SECONDS": "0.1",
}


def run_of(job_id: str, run_no: int = 1) -> RunKey:
    """Returns a run of a job of the only tenant."""
    return RunKey("ten_a", job_id, run_no)


class Store:
    """The database and the statements of it that a run monitor uses; it records what was written."""

    OPENING, SEQ_PER_RUN = "opening", 1000

    def __init__(self) -> None:
        self.is_away = False
        self.is_broken = False
        self.knows_node = self.takes_jobs = True
        self.cancelled: set[RunKey] = set()
        self.over: set[RunKey] = set()
        #: The runs that the database believes the node to hold beyond those that are rescued or over.
        self.unclaimed: set[RunKey] = set()
        self.calls: list[tuple[Any, ...]] = []
        self.checks = 0
        #: How often a connection was asked for.
        self.attempts = 0

    @classmethod
    def of_the_monitor(cls, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Returns a store that run monitors use from now on, and have them look at it often."""
        store = cls()
        monkeypatch.setattr(run_monitor, "Database", SimpleNamespace(of=lambda *_, **__: store))
        monkeypatch.setattr(run_monitor, "nodes", store)
        for name in ("nodes", "workers"):
            monkeypatch.setattr(f"ava.node.parent.node_row.{name}", store)
        monkeypatch.setattr("ava.node.parent.orphans.nodes", store)
        for name in ("claim", "end", "log_lines", "recall", "rescue"):
            monkeypatch.setattr(f"ava.node.parent.run_rescue.{name}", store)
        monkeypatch.setattr("ava.node.parent.loop_liveness.is_turning", lambda: True)
        monkeypatch.setattr(run_monitor, "_CHECK_SECONDS", 0.1)
        monkeypatch.setattr(run_monitor, "_RETRY_SECONDS", 0.02)
        return store

    # What `ava.store.engine.database.Database` is to the monitor
    @contextmanager
    def connect(self) -> Iterator[Any]:
        self.attempts += 1
        if self.is_away:
            raise DatabaseUnavailable
        yield self

    def close(self) -> None:
        self.calls.append(("close",))

    # The statements
    def announce(self, _connection: Any, specs: list[Any]) -> None:
        self.calls.append(("announce", len(specs)))

    def register(self, _connection: Any, node: NodeSpec) -> None:
        self.calls.append(("register", node.id))
        self.knows_node = True

    def heartbeat(self, _connection: Any, node_id: str, *, busy: int, **_: Any) -> bool | None:
        if self.is_broken:
            raise ValueError("on purpose")
        self.calls.append(("heartbeat", busy))
        return self.takes_jobs if self.knows_node else None

    def write_queues(self, _connection: Any, node: NodeSpec) -> None:
        self.calls.append(("write_queues", tuple(node.queues)))

    def deregister(self, _connection: Any, node_id: str) -> None:
        self.calls.append(("deregister", node_id))

    def check_runs(self, _connection: Any, _node_id: str, runs: Collection[RunKey], _entered: Any) -> RunDirectives:
        self.checks += 1
        return RunDirectives(
            running_seconds={},
            cancelled=frozenset(self.cancelled.intersection(runs)),
            over=frozenset(self.over.intersection(runs)),
        )

    def runs_of(self, _connection: Any, node_id: str) -> set[RunKey]:
        return set()

    def append(self, _connection: Any, *, run: RunKey, lines: list[LogLine], **_: Any) -> None:
        self._write("lines", run.job_id, run.run_no, [line.msg for line in lines])

    def end_each(self, _connection: Any, ended: Sequence[EndedRun]) -> None:
        self._write("end", *[(each.outcome.run.job_id, each.outcome.output_json) for each in ended])

    def recall_runs(self, _connection: Any, runs: Sequence[RunKey]) -> int:
        if self.is_away:
            raise DatabaseUnavailable
        return len(self.unclaimed.intersection(runs))

    def rescue(self, _connection: Any, *, run: RunKey, msg: str, is_loss: bool, **_: Any) -> object:
        self._write("rescue", run.job_id, run.run_no, msg, is_loss)
        return object()

    def show(self, _connection: Any, _run: RunKey) -> None:
        """The worker of the run is not known."""

    def end_killed_run(self, _connection: Any, *, run: RunKey, error: str, **_: Any) -> object:
        self._write("end killed", run.job_id, run.run_no, error)
        return object()

    def _write(self, *call: Any) -> None:
        if self.is_away:
            raise DatabaseUnavailable
        self.calls.append(call)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Returns the arguments of every call of this name, in order."""
        return [call[1:] for call in self.calls if call[0] == name]


class Child:
    """A process that no datagram ends, and the mailbox and the board that a real child of a node would have."""

    def __init__(self, node_id: str, board: ProcessBoard) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.pid = self.process.pid
        self.board = board
        board.open(self.pid)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(mailbox.address(node_id, self.pid))
        self._socket.setblocking(False)

    def publish(self, job_id: str, phase: Phase = Phase.RUNNING, **changes: Any) -> None:
        """Publish a run as the current one."""
        self.board.publish(CurrentRun(key=run_of(job_id), phase=phase, **{"timeout_seconds": 60, **changes}))

    def received(self) -> list[tuple[str, str]]:
        """Returns the stops that have come since the last call, repetitions left out."""
        found: dict[tuple[str, str], None] = {}
        while True:
            try:
                task_id, reason = json.loads(self._socket.recv(4096))
            except BlockingIOError:
                return list(found)
            found[task_id, reason] = None

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def was_killed(self) -> bool:
        return self.process.poll() == -signal.SIGKILL

    def close(self) -> None:
        self._socket.close()
        self.process.kill()
        self.process.wait()


class Node:
    """A run monitor with its store and its children."""

    def __init__(self, store: Store, **environ: str) -> None:
        self.id = f"test-{os.getpid()}-{time.monotonic_ns()}"
        self.store = store
        self.monitor = RunMonitor(load(ENVIRON | environ), self.id, Refusals(), PoolRuns(self.id))
        self._board = RunBoard(4)
        self.monitor.watch(self._board)
        self._children: list[Child] = []

    def start(self) -> None:
        spec = NodeSpec(id=self.id, name="n", host="h", pid=1, version="1", queues=["default"], workers=[], processes=2)
        self.monitor.start(spec, [])

    def give(self, *job_ids: str) -> tuple[GivenRuns, Child]:
        """Have a child of its own accept a message of these jobs."""
        child = Child(self.id, self._board.of_process(len(self._children)))
        self._children.append(child)
        given = GivenRuns(pid=child.pid, runs=tuple(map(run_of, job_ids)))
        self.monitor.give(given)
        return given, child

    def run(self, job_id: str, *more: str, **changes: Any) -> tuple[GivenRuns, Child]:
        """Have a child of its own accept a message, and run its first job."""
        given, child = self.give(job_id, *more)
        child.publish(job_id, **changes)
        return given, child

    def tracked(self, child: Child) -> TrackedRun:
        """Returns what the monitor knows of the current run of a child."""
        (found,) = [run for run in self.monitor._pool_runs.poll() if run.pid == child.pid]
        return found

    def grace_of(self, child: Child) -> float:
        """Returns the seconds after which the current run of a child, which was asked to stop, is killed."""
        kill_at = self.tracked(child).state.kill_at
        assert kill_at is not None
        return kill_at - time.monotonic()

    def let_pass(self, count: int = 3) -> None:
        """Wait until the monitor has asked the database some times more, with or without success."""
        before = self.store.attempts
        wait_until(lambda: self.store.attempts > before + count)

    def lose(self, given: GivenRuns, cause: str = "signal 9") -> None:
        """Have the event loop report that the child of a message has died."""
        assert self.monitor.take_back(given)
        self.monitor.rescue(given, f"WorkerLost: the worker process died ({cause})")

    def rescue_another(self, job_id: str) -> None:
        """Have the monitor rescue the run of a process that has died before, after all that it has to write."""
        self.monitor.rescue(GivenRuns(pid=0, runs=(run_of(job_id),)), "WorkerLost: …")

    def lose_without_rescue(self, given: GivenRuns) -> None:
        """Lose the child of a message whose runs are not rescued: a run that is lost after it is the only one."""
        self.lose(given)
        self.rescue_another("job_z")
        wait_until(lambda: self.rescued() == ["job_z"])

    def rescued(self) -> list[str]:
        """Returns the jobs whose runs were rescued, in order."""
        return [job_id for job_id, *_ in self.store.named("rescue")]

    def close(self) -> None:
        self.monitor.close()
        for child in self._children:
            child.close()
