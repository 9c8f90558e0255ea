"""Stopping a node: jobs get time to end, the others return to the queue, and no process is left."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.witness import Witness

HANDLERS = {"AVA_HANDLERS": "workers,tests.acceptance.handlers"}


def start(nodes: System, *, drain_seconds: float, workers: int = 1) -> None:
    nodes.start_nodes(workers, concurrency=4, environ={**HANDLERS, "AVA_DRAIN_SECONDS": str(drain_seconds)})


def test_running_jobs_end_or_run_once_more_elsewhere(nodes: System, tmp_path: Path) -> None:
    start(nodes, drain_seconds=1.5)
    (first,) = nodes.workers
    seconds = (1.0, 1.2, 8.0, 8.0)
    witness = [Witness(tmp_path / f"witness-{n}") for n in range(4)]
    jobs = [
        nodes.trigger("wkr_t_step", input={**it.input, "seconds": s}) for it, s in zip(witness, seconds, strict=True)
    ]
    for it in witness:
        it.wait_for("begin")
    asked = time.monotonic()
    first.send(signal.SIGTERM)
    second = nodes.start_worker(concurrency=4)
    assert first.wait() == 0
    took = time.monotonic() - asked
    print(f"the node ended {took:.2f} s after SIGTERM; it drains for 1.5 s")  # noqa: T201 - a figure
    records = [nodes.wait_for(job["id"], "completed") for job in jobs]
    assert [record["attempt"] for record in records] == [1, 1, 1, 1]
    assert [it.words for it in witness[:2]] == [["begin", "end"]] * 2
    assert [it.words for it in witness[2:]] == [["begin", "JobInterrupted", "begin", "end"]] * 2
    for job in jobs[2:]:
        assert "Handler interrupted, the worker is shutting down" in nodes.messages(job["id"])
    assert {it.read()[-1].pid for it in witness[2:]} <= {process.pid for process in second.children}
    assert not first.children


def test_a_cancel_during_the_drain_is_a_cancel(nodes: System, witness: Witness) -> None:
    start(nodes, drain_seconds=20)
    job = nodes.trigger("wkr_t_wait", input=witness.input)
    witness.wait_for("begin")
    nodes.workers[0].send(signal.SIGTERM)
    time.sleep(0.5)
    asked = time.monotonic()
    assert nodes.cancel(job["id"]).status_code == 200
    witness.wait_for("finally")
    took = time.monotonic() - asked
    assert took < 15, "the drain goes on for 20 s"
    assert nodes.wait_for(job["id"])["status"] == "cancelled"
    assert witness.words == ["begin", "JobCancelled", "finally"]
    assert nodes.workers[0].wait() == 0


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_a_second_sigterm_ends_the_drain(nodes: System, witness: Witness) -> None:
    start(nodes, drain_seconds=60)
    job = nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 30})
    stubborn = Witness(witness.path.with_name("stubborn"))
    other = nodes.trigger("wkr_t_look", input=stubborn.input)
    witness.wait_for("begin")
    stubborn.wait_for("begin")
    nodes.workers[0].send(signal.SIGTERM)
    time.sleep(0.5)
    assert nodes.workers[0].exit_code is None
    nodes.workers[0].send(signal.SIGTERM)
    assert nodes.workers[0].wait() == 0
    assert witness.words == ["begin", "JobInterrupted"]
    for record in (nodes.show(job["id"]), nodes.show(other["id"])):
        assert (record["status"], record["attempt"]) == ("queued", 0)


def test_sigquit_kills_at_once_and_returns_the_job_to_the_queue(nodes: System, witness: Witness) -> None:
    start(nodes, drain_seconds=60)
    job = nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 3})
    witness.wait_for("begin")
    asked = time.monotonic()
    nodes.workers[0].send(signal.SIGQUIT)
    nodes.workers[0].wait()
    took = time.monotonic() - asked
    assert took < 30, "the drain would go on for a minute"
    assert nodes.show(job["id"])["status"] == "queued"
    assert witness.words == ["begin"], "it was killed"
    nodes.start_worker(concurrency=1)
    assert nodes.wait_for(job["id"], seconds=60)["attempt"] == 1
    assert witness.words == ["begin", "begin", "end"]


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_a_killed_node_leaves_no_folder_of_shared_memory(nodes: System, witness: Witness, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    environ = {**HANDLERS, "TMPDIR": str(folder)}
    nodes.workers.append(node := nodes.spawn("worker", "-c", "2", environ=environ))
    nodes.await_workers()
    nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 60})
    witness.wait_for("begin")
    children = node.children
    node.send(signal.SIGKILL)
    psutil.wait_procs(children, timeout=30)
    assert not list(folder.glob("pymp-*"))


def test_rolling_restarts_under_load_lose_nothing(nodes: System, tmp_path: Path) -> None:
    start(nodes, drain_seconds=5, workers=2)
    witness = Witness(tmp_path / "all")
    jobs: list[str] = []
    is_over = threading.Event()

    def load() -> None:
        while not is_over.is_set():
            with contextlib.suppress(AssertionError):
                jobs.append(nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 0.1})["id"])
            time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    for worker in list(nodes.workers):
        wait_until(lambda: len(witness.words) > 20)
        nodes.start_worker(concurrency=4)
        assert worker.terminate() == 0
    is_over.set()
    thread.join()
    records = [nodes.wait_for(job_id) for job_id in jobs]
    assert Counter((record["status"], record["attempt"]) for record in records) == {("completed", 1): len(jobs)}
    words = Counter(witness.words)
    assert words["begin"] == words["end"] == len(jobs)
    print(f"{len(jobs)} jobs over two restarts, each run once")  # noqa: T201 - a figure


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_an_idle_node_exits_at_once_and_each_line_of_its_log_is_json(nodes: System) -> None:
    nodes.start_nodes(concurrency=4, environ={**HANDLERS, "AVA_DRAIN_SECONDS": "60", "AVA_LOG_FORMAT": "json"})
    assert nodes.workers[0].terminate() == 0
    lines = [json.loads(line) for line in nodes.workers[0].output.splitlines()]
    assert "Warm shutdown (MainProcess)" in {line["msg"] for line in lines}
    of_its = "SELECT stopped_at IS NOT NULL FROM nodes WHERE pid = %s"
    assert nodes.query(of_its, nodes.workers[0].pid) == [(True,)]


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_the_handlers_of_a_killed_node_and_their_subprocesses_end_with_it(nodes: System, witness: Witness) -> None:
    start(nodes, drain_seconds=60)
    nodes.trigger("wkr_t_starts", input=witness.input)
    witness.wait_for("begin")
    tree = nodes.workers[0].children
    assert len(tree) >= 5
    nodes.workers[0].kill()
    wait_until(lambda: not any(process.is_running() for process in tree))
