"""Every promise of a node holds on Celery's pool too (`AVA_POOL=celery`); the other files prove it for its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

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
    started = sorted((nodes.show(job["id"]) for job in jobs), key=lambda record: record["started_at"])
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
