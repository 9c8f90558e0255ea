"""Every promise of a node holds on Celery's pool too (`AVA_POOL=celery`); the other files prove it for its own.

Flower shows which jobs run, and never their input.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.witness import Witness

ON_CELERYS_POOL = pytest.mark.parametrize("pool", ["celery"])
ON_BOTH_POOLS = pytest.mark.parametrize("pool", ["ava", "celery"])


def _start(nodes: System, pool: str, *, concurrency: int = 2) -> None:
    environ = {"AVA_HANDLERS": "workers,tests.acceptance.handlers", "AVA_POOL": pool, "AVA_DRAIN_SECONDS": "1.5"}
    nodes.start_nodes(concurrency=concurrency, environ=environ)


@ON_CELERYS_POOL
def test_jobs_complete_a_killed_child_costs_a_run_a_cancel_reaches_its_run_alone_and_a_drain_hands_back_what_remains(
    nodes: System, pool: str, witness: Witness, tmp_path: Path
) -> None:
    _start(nodes, pool)
    _kill_a_child(nodes, witness)
    ids = [nodes.trigger("wkr_t_echo", input={"n": n})["id"] for n in range(20)]
    assert [nodes.wait_for(job_id)["output"] for job_id in ids] == [{"n": n} for n in range(20)]
    one, other, stubborn = (Witness(tmp_path / name) for name in ("one", "other", "stubborn"))
    cancelled = nodes.trigger("wkr_t_wait", input=one.input)
    left_alone = nodes.trigger("wkr_t_step", input={**other.input, "seconds": 3})
    one.wait_for("begin")
    other.wait_for("begin")
    assert nodes.cancel(cancelled["id"]).status_code == 200
    assert nodes.wait_for(cancelled["id"])["status"] == "cancelled"
    assert one.words == ["begin", "JobCancelled", "finally"]
    assert nodes.wait_for(left_alone["id"])["status"] == "completed"
    assert other.words == ["begin", "end"]
    # A handler that does not stop is killed when its grace is over, with all that it has started.
    killed = nodes.trigger("wkr_t_stubborn", input=stubborn.input)
    stubborn.wait_for("begin")
    before = {process.pid for process in nodes.workers[0].children}
    assert nodes.cancel(killed["id"]).status_code == 200
    assert nodes.wait_for(killed["id"], seconds=20)["status"] == "cancelled"
    gone = before - {process.pid for process in nodes.workers[0].children}
    assert len(gone) > 1, "the child and what its handler had started"
    assert nodes.wait_for(nodes.trigger("wkr_t_echo")["id"])["status"] == "completed"
    _drain(nodes, tmp_path)


def _kill_a_child(nodes: System, witness: Witness) -> None:
    """Kill a child that runs a job: it is noticed at once, and the job runs again."""
    # A stray signal ends no idle process.
    idle = nodes.workers[0].children
    for process in idle:
        process.send_signal(signal.SIGTERM)
    job = nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 1})
    witness.wait_for("begin")
    began = time.monotonic()
    assert witness.read()[0].pid in {process.pid for process in idle}
    psutil.Process(witness.read()[0].pid).kill()
    wait_until(lambda: witness.words[1:2] == ["begin"], what="it runs again")
    print(f"it ran again {time.monotonic() - began:.2f} s after the kill")  # noqa: T201 - a figure
    record = nodes.wait_for(job["id"])
    assert (record["status"], record["attempt"]) == ("completed", 1)
    assert "Handler lost: the worker process died (signal 9)" in " ".join(nodes.messages(job["id"]))
    assert nodes.query("SELECT run_no, losses FROM jobs WHERE tenant_id = %s", job["tenant_id"]) == [(2, 1)]


@ON_CELERYS_POOL
def test_jobs_start_in_the_order_of_their_priorities_and_a_child_ends_with_its_parent(
    nodes: System, pool: str, witness: Witness, tmp_path: Path
) -> None:
    _start(nodes, pool, concurrency=1)
    blocking = nodes.trigger("wkr_t_brief", input={"until": str(tmp_path / "all wait")})
    nodes.wait_for(blocking["id"], "running")
    priorities = [5, 9, 1, 7, 3, 10, 2, 8, 4, 6]
    jobs = [nodes.trigger("wkr_t_echo", priority=priority) for priority in priorities]
    (tmp_path / "all wait").touch()
    for job in jobs:
        assert nodes.wait_for(job["id"])["status"] == "completed"
    records = [nodes.show(job["id"]) for job in jobs]
    started = sorted(records, key=lambda record: datetime.fromisoformat(record["started_at"]))
    assert [record["priority"] for record in started] == list(range(1, 11))
    _kill_the_parent(nodes, witness)


def _drain(nodes: System, tmp_path: Path) -> None:
    """Stop a node: a job that ends within the drain completes, and the other one returns to the queue."""
    short, long = Witness(tmp_path / "short"), Witness(tmp_path / "long")
    ending = nodes.trigger("wkr_t_step", input={**short.input, "seconds": 0.7})
    interrupted = nodes.trigger("wkr_t_step", input={**long.input, "seconds": 60})
    short.wait_for("begin")
    long.wait_for("begin")
    (node,) = nodes.workers
    assert node.terminate(15) == 0
    assert nodes.show(ending["id"])["status"] == "completed"
    assert (nodes.show(interrupted["id"])["status"], long.words) == ("queued", ["begin", "JobInterrupted"])
    assert not node.children


def _kill_the_parent(nodes: System, witness: Witness) -> None:
    job = nodes.trigger("wkr_t_stubborn", input=witness.input)
    witness.wait_for("begin")
    (node,) = nodes.workers
    below = node.children
    assert len(below) > 1, "the child and what its handler has started"
    node.kill()
    psutil.wait_procs(below, timeout=10)
    wait_until(lambda: not any(process.is_running() for process in below), what="all of its processes have ended")
    assert nodes.show(job["id"])["status"] == "running"


@on_redis
@ON_BOTH_POOLS
def test_a_celery_task_of_a_handler_goes_to_the_broker_of_its_own_application(nodes: System, pool: str) -> None:
    done = _delayed(nodes, pool, "memory://")
    assert done["output"] == {"app": "shop", "in_a_thread": "shop", "messages": 1}, done["error"]


@on_redis
def test_a_celery_task_without_an_application_of_its_own_fails_its_job(nodes: System) -> None:
    failed = _delayed(nodes, "ava", "")
    assert failed["error"] == (
        "ImproperlyConfigured: the task tests.acceptance.celery_handlers.notify has no Celery application: make one, "
        "as in Celery(broker=...), in the module of the handler; `ava.client` triggers jobs of this service"
    )


def _delayed(nodes: System, pool: str, shop_broker: str) -> dict[str, Any]:
    """Returns the job of a handler that publishes a `@shared_task`."""
    environ = {"AVA_HANDLERS": "tests.acceptance.celery_handlers", "AVA_POOL": pool, "SHOP_BROKER_URL": shop_broker}
    nodes.start_nodes(concurrency=1, environ=environ)
    return nodes.wait_for(nodes.trigger("wkr_t_delay")["id"], "completed", "failed")


# Flower ------------------------------------------------------------------------------------------------------------


class Flower:
    """`celery -A ava.app flower`."""

    def __init__(self, system: System, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "flower.log"
        port = self.url.rpartition(":")[2]
        arguments = ("-m", "celery", "-A", "ava.app", "flower", "--address=127.0.0.1", f"--port={port}")
        environ = {**system.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
        with self.log.open("wb") as output:
            self.child = ChildProcess.start(
                Program(name="flower", argv=(sys.executable, *arguments), environ=environ), output
            )

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Returns what its API responds with; an empty mapping before it responds."""
        try:
            response = requests.get(f"{self.url}/api/{path}", params=parameters, timeout=10)
        except requests.RequestException:
            return {}
        found: dict[str, Any] = response.json() if response.ok else {}
        return found


@pytest.fixture
def flower(nodes: System, tmp_path: Path) -> Iterator[Flower]:
    """Flower, started as in the Procfile."""
    environ = {"AVA_HANDLERS": "tests.acceptance.dashboard_handlers", "AVA_POOL": "ava"}
    nodes.start_nodes(concurrency=2, environ=environ)
    flower = Flower(nodes, tmp_path)
    yield flower
    flower.child.stop()


# tests/integration/test_reply_queue.py: what it asks, on both brokers.
@on_redis
def test_flower_shows_the_nodes_and_the_jobs_that_run(flower: Flower, nodes: System) -> None:
    wait_until(
        lambda: any(flower.get("workers", status="true").values()),
        seconds=40,
        what=lambda: f"a node is online; {flower.log.read_text()[-2000:]}",
    )
    # A node sends the events of its jobs once Flower has asked it to.
    wait_until(
        lambda: nodes.trigger("wkr_echo") and flower.get("tasks"),
        seconds=60,
        what=lambda: f"Flower shows a job; {flower.log.read_text()[-2000:]}",
    )
    secret = "for-the-handler-alone"
    job = nodes.trigger("wkr_report", input={"steps": 600, "seconds": 0.1, "note": secret})
    quick = nodes.trigger("wkr_echo")
    nodes.wait_for(job["id"], "running")
    nodes.wait_for(quick["id"], "completed")

    def task_of(record: dict[str, Any], state: str) -> dict[str, Any] | None:
        found = [task for task in flower.get("tasks").values() if record["id"] in str(task.get("args"))]
        return next((task for task in found if task["state"] == state), None)

    running = wait_until(lambda: task_of(job, "STARTED"), seconds=20, what="Flower shows the running job")
    ended = wait_until(lambda: task_of(quick, "SUCCESS"), seconds=20, what="Flower shows the completed job")
    assert running["name"] == "ava.run_job"
    assert job["id"] in running["uuid"]
    assert "wkr_report" in running["args"]
    assert ended["runtime"] >= 0
    assert secret not in json.dumps(flower.get("tasks"))
    # `refresh` has Flower query the nodes; it does not wait for their replies.
    wait_until(
        lambda: "ava-" in json.dumps(flower.get("workers", refresh="1")), seconds=30, what="Flower knows the node"
    )
    nodes.cancel(job["id"])
    nodes.wait_for(job["id"], "cancelled")
    wait_until(
        lambda: task_of(job, "REVOKED"), seconds=20, what=lambda: f"it was revoked; {json.dumps(flower.get('tasks'))}"
    )
