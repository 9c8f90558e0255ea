"""A run monitor with real mailboxes and real processes, and a database and a store that only record."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ava.broker.refusals import Refusals
from ava.errors import DatabaseUnavailable
from ava.node import mailbox
from ava.node.parent import run_monitor
from ava.node.parent.held_run import HeldRun
from ava.node.parent.run_monitor import RunMonitor
from ava.settings import load
from ava.store.fleet.nodes import NodeSpec, RunDirectives

Key = tuple[str, int]
ENVIRON = {
    "DATABASE_URL": "postgresql://ava@127.0.0.1:1/none",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "AVA_HEARTBEAT_SECONDS": "0.1",
}


class Store:
    """The database and the statements of it that a run monitor uses; it records what was written."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_broken = False
        self.knows_node = self.takes_jobs = True
        self.cancelled: set[Key] = set()
        self.over: set[Key] = set()
        #: The runs that have got the places of ended ones.
        self.passed: dict[Key, Key] = {}
        self.running_seconds: dict[Key, float] = {}
        #: The runs that the database believes the node to hold beyond those that are rescued or over.
        self.unclaimed: set[Key] = set()
        self.calls: list[tuple[Any, ...]] = []
        self.checks = 0

    @classmethod
    def of_the_monitor(cls, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Returns a store that run monitors use from now on, and have them look at it often."""
        store = cls()
        monkeypatch.setattr(run_monitor, "Database", SimpleNamespace(of=lambda *_, **__: store))
        for name in ("nodes", "workers", "passed_places"):
            monkeypatch.setattr(run_monitor, name, store)
        monkeypatch.setattr("ava.node.parent.orphans.nodes", store)
        monkeypatch.setattr("ava.node.parent.rescue.rescues", store)
        monkeypatch.setattr("ava.node.parent.rescue.passed_places", store)
        monkeypatch.setattr(run_monitor, "_CHECK_SECONDS", 0.1)
        monkeypatch.setattr(run_monitor, "_RETRY_SECONDS", 0.02)
        return store

    # What `ava.store.engine.database.Database` is to the monitor
    @contextmanager
    def connect(self) -> Iterator[Any]:
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

    def check_runs(self, _connection: Any, _node_id: str, runs: Collection[Key]) -> RunDirectives:
        self.checks += 1
        return RunDirectives(
            running_seconds={run: s for run, s in self.running_seconds.items() if run in runs},
            cancelled=frozenset(self.cancelled.intersection(runs)),
            over=frozenset(self.over.intersection(runs)),
        )

    def runs_of(self, _connection: Any, node_id: str) -> set[Key]:
        return set()

    def passed_by(self, _connection: Any, *, job_id: str, run_no: int, **_: Any) -> Key | None:
        return self.passed.get((job_id, run_no))

    def invalidate_unclaimed(self, _connection: Any, *, job_id: str, run_no: int) -> bool:
        if self.is_away:
            raise DatabaseUnavailable
        return (job_id, run_no) in self.unclaimed

    def rescue(self, _connection: Any, *, job_id: str, run_no: int, msg: str, is_loss: bool, **_: Any) -> object:
        self._write("rescue", job_id, run_no, msg, is_loss)
        return object()

    def end_killed_run(self, _connection: Any, *, job_id: str, run_no: int, error: str, **_: Any) -> object:
        self._write("end killed", job_id, run_no, error)
        return object()

    def _write(self, *call: Any) -> None:
        if self.is_away:
            raise DatabaseUnavailable
        self.calls.append(call)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Returns the arguments of every call of this name, in order."""
        return [call[1:] for call in self.calls if call[0] == name]


class Child:
    """A process that no datagram ends, and the mailbox that a real child of a node would have."""

    def __init__(self, node_id: str) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.pid = self.process.pid
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(mailbox.address(node_id, self.pid))
        self._socket.setblocking(False)

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
        self.monitor = RunMonitor(load(ENVIRON | environ), self.id, Refusals())
        self._children: list[Child] = []

    def start(self) -> None:
        spec = NodeSpec(id=self.id, name="n", host="h", pid=1, version="1", queues=["default"], workers=[], processes=2)
        self.monitor.start(spec, [])

    def run(self, job_id: str, *, timeout_seconds: float = 60, grace_seconds: float = 0) -> tuple[HeldRun, Child]:
        """Have a child of its own run a job."""
        child = Child(self.id)
        self._children.append(child)
        held = HeldRun(
            job_id=job_id,
            run_no=1,
            pid=child.pid,
            timeout_seconds=timeout_seconds,
            grace_seconds=grace_seconds,
        )
        self.store.running_seconds[held.key] = 0
        self.monitor.track([held])
        return held, child

    def run_group(self, *job_ids: str, grace_seconds: float = 0) -> tuple[tuple[HeldRun, ...], Child]:
        """Have a child of its own run the jobs of one message, of which it has begun the first."""
        child = Child(self.id)
        self._children.append(child)
        held = tuple(
            HeldRun(job_id=job_id, run_no=1, pid=child.pid, timeout_seconds=60, grace_seconds=grace_seconds)
            for job_id in job_ids
        )
        for each in held:
            each.group = held
        self.store.running_seconds[held[0].key] = 0
        self.monitor.track(held)
        return held, child

    def rescue_another(self, job_id: str) -> None:
        """Have the monitor rescue the run of a process that has died before, after all that it has to write."""
        held = HeldRun(job_id=job_id, run_no=1, pid=0, timeout_seconds=60, grace_seconds=0)
        self.monitor.rescue(held, "WorkerLost: …")

    def rescued(self) -> list[str]:
        """Returns the jobs whose runs were rescued, in order."""
        return [job_id for job_id, *_ in self.store.named("rescue")]

    def close(self) -> None:
        self.monitor.close()
        for child in self._children:
            child.close()
