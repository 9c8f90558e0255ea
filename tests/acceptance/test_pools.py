"""Every promise of a node holds on both of its pools: its own, and Celery's own (`AVA_POOL=celery`)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.witness import Witness

POOLS_AND_BROKERS = pytest.mark.parametrize(
    ("pool", "broker_url"),
    [
        pytest.param("ava", "redis", marks=pytest.mark.redis),
        pytest.param("celery", "redis", marks=pytest.mark.redis),
        pytest.param("celery", "rabbitmq", marks=pytest.mark.rabbitmq),
    ],
    indirect=["broker_url"],
)


def _start(system: System, pool: str, *, concurrency: int = 2) -> None:
    environ = {"AVA_HANDLERS": "workers,tests.acceptance.handlers", "AVA_POOL": pool, "AVA_DRAIN_SECONDS": "1.5"}
    system.start(concurrency=concurrency, environ=environ)


@POOLS_AND_BROKERS
def test_jobs_complete_and_a_cancel_reaches_the_run_that_it_names_alone(
    system: System, pool: str, tmp_path: Path
) -> None:
    _start(system, pool)
    ids = [system.trigger("wkr_t_echo", input={"n": n})["id"] for n in range(20)]
    assert [system.wait_for(job_id)["output"] for job_id in ids] == [{"n": n} for n in range(20)]
    one, other, stubborn = (Witness(tmp_path / name) for name in ("one", "other", "stubborn"))
    cancelled = system.trigger("wkr_t_wait", input=one.input)
    left_alone = system.trigger("wkr_t_step", input={**other.input, "seconds": 3})
    one.wait_for("begin")
    other.wait_for("begin")
    assert system.cancel(cancelled["id"]).status_code == 200
    assert system.wait_for(cancelled["id"])["status"] == "cancelled"
    assert one.words == ["begin", "JobCancelled", "finally"]
    assert system.wait_for(left_alone["id"])["status"] == "completed"
    assert other.words == ["begin", "end"]
    # A handler that does not stop is killed when its grace is over, with all that it has started.
    killed = system.trigger("wkr_t_stubborn", input=stubborn.input)
    stubborn.wait_for("begin")
    before = {process.pid for process in system.workers[0].children}
    assert system.cancel(killed["id"]).status_code == 200
    assert system.wait_for(killed["id"], seconds=20)["status"] == "cancelled"
    gone = before - {process.pid for process in system.workers[0].children}
    assert len(gone) > 1, "the child and what its handler had started"
    assert system.wait_for(system.trigger("wkr_t_echo")["id"])["status"] == "completed"


@POOLS_AND_BROKERS
def test_a_killed_child_is_noticed_at_once_and_its_job_runs_again(system: System, pool: str, witness: Witness) -> None:
    _start(system, pool)
    # A stray signal ends no idle process.
    idle = system.workers[0].children
    for process in idle:
        process.send_signal(signal.SIGTERM)
    job = system.trigger("wkr_t_step", input={**witness.input, "seconds": 1})
    witness.wait_for("begin")
    began = time.monotonic()
    assert witness.read()[0].pid in {process.pid for process in idle}
    psutil.Process(witness.read()[0].pid).kill()
    wait_until(lambda: witness.words[1:2] == ["begin"], what="it runs again")
    print(f"it ran again {time.monotonic() - began:.2f} s after the kill")  # noqa: T201 - a figure
    record = system.wait_for(job["id"])
    assert (record["status"], record["attempt"]) == ("completed", 1)
    assert "Handler lost: the worker process died (signal 9)" in " ".join(system.messages(job["id"]))
    assert system.query("SELECT run_no, losses FROM jobs") == [(2, 1)]


@POOLS_AND_BROKERS
def test_jobs_start_in_the_order_of_their_priorities(system: System, pool: str) -> None:
    _start(system, pool, concurrency=1)
    blocking = system.trigger("wkr_t_work", input={"seconds": 1.5})
    system.wait_for(blocking["id"], "running")
    priorities = [5, 9, 1, 7, 3, 10, 2, 8, 4, 6]
    jobs = [system.trigger("wkr_t_echo", priority=priority) for priority in priorities]
    for job in jobs:
        assert system.wait_for(job["id"])["status"] == "completed"
    started = [row[0] for row in system.query("SELECT priority FROM jobs ORDER BY started_at OFFSET 1")]
    assert started == list(range(1, 11))


@POOLS_AND_BROKERS
def test_a_node_drains_and_hands_back_what_does_not_end(system: System, pool: str, tmp_path: Path) -> None:
    _start(system, pool)
    short, long = Witness(tmp_path / "short"), Witness(tmp_path / "long")
    ending = system.trigger("wkr_t_step", input={**short.input, "seconds": 0.7})
    interrupted = system.trigger("wkr_t_step", input={**long.input, "seconds": 60})
    short.wait_for("begin")
    long.wait_for("begin")
    (node,) = system.workers
    assert node.terminate(15) == 0
    assert system.show(ending["id"])["status"] == "completed"
    assert (system.show(interrupted["id"])["status"], long.words) == ("queued", ["begin", "JobInterrupted"])
    assert not node.children


@POOLS_AND_BROKERS
def test_a_child_ends_with_its_parent(system: System, pool: str, witness: Witness) -> None:
    _start(system, pool)
    job = system.trigger("wkr_t_stubborn", input=witness.input)
    witness.wait_for("begin")
    (node,) = system.workers
    below = node.children
    assert len(below) > 2
    node.kill()
    psutil.wait_procs(below, timeout=10)
    wait_until(lambda: not any(process.is_running() for process in below), what="all of its processes have ended")
    assert system.show(job["id"])["status"] == "running"
