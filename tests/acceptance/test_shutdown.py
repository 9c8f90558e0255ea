"""Stopping and pausing a node: jobs get time to end, the others return to the queue, and no process is left.

No command that a stranger sends through the broker stops it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from celery import Celery

from ava.broker.celery_app import make_app
from ava.local.program import ChildProcess, Program
from ava.settings import load
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.witness import Witness

HANDLERS = {"AVA_HANDLERS": "workers,workers.sleep,tests.acceptance.handlers"}
PLATFORM = {"x-platform-role": "platform-admin"}
#: Commands of Celery's remote control that would stop a node, make it deaf or change its size.
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("cancel_consumer", {"queue": "default"}),
    ("pool_grow", {"n": 3}),
    ("pool_shrink", {"n": 1}),
    ("rate_limit", {"task_name": "ava.run_job", "rate_limit": "1/h"}),
    ("time_limit", {"task_name": "ava.run_job", "hard": 1}),
    ("add_consumer", {"queue": "other"}),
]


def start(nodes: System, *, drain_seconds: float, concurrency: int = 2, **environ: str) -> RunningProcess:
    """Start a node. What `environ` does not name is as it is by default, whatever the test before has set."""
    defaults = {**HANDLERS, "AVA_LOG_FORMAT": "", "AVA_HEARTBEAT_SECONDS": ""}
    nodes.start_nodes(concurrency=concurrency, environ={**defaults, "AVA_DRAIN_SECONDS": str(drain_seconds), **environ})
    return nodes.workers[-1]


@on_redis
def test_running_jobs_end_or_run_once_more_elsewhere(nodes: System, tmp_path: Path) -> None:
    first = start(nodes, drain_seconds=1.5)
    seconds = (1.0, 6.0)
    witness = [Witness(tmp_path / f"witness-{n}") for n in range(2)]
    jobs = [
        nodes.trigger("wkr_t_step", input={**it.input, "seconds": s}) for it, s in zip(witness, seconds, strict=True)
    ]
    for it in witness:
        it.wait_for("begin")
    asked = time.monotonic()
    first.send(signal.SIGTERM)
    second = nodes.start_worker(concurrency=2)
    assert first.wait() == 0
    took = time.monotonic() - asked
    print(f"the node ended {took:.2f} s after SIGTERM; it drains for 1.5 s")  # noqa: T201 - a figure
    records = [nodes.wait_for(job["id"], "completed") for job in jobs]
    assert [record["attempt"] for record in records] == [1, 1]
    assert witness[0].words == ["begin", "end"]
    assert witness[1].words == ["begin", "JobInterrupted", "begin", "end"]
    assert "Handler interrupted, the worker is shutting down" in nodes.messages(jobs[1]["id"])
    assert witness[1].read()[-1].pid in {process.pid for process in second.children}
    assert not first.children


@on_redis
def test_a_cancel_during_the_drain_is_a_cancel_and_a_second_sigterm_ends_the_drain(
    nodes: System, witness: Witness, tmp_path: Path
) -> None:
    node = start(nodes, drain_seconds=60, concurrency=3)
    cancelled, stubborn = Witness(tmp_path / "cancelled"), Witness(tmp_path / "stubborn")
    job = nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 30})
    other = nodes.trigger("wkr_t_look", input=stubborn.input)
    waiting = nodes.trigger("wkr_t_wait", input=cancelled.input)
    for each in (witness, stubborn, cancelled):
        each.wait_for("begin")
    node.send(signal.SIGTERM)
    time.sleep(0.5)
    assert nodes.cancel(waiting["id"]).status_code == 200
    assert nodes.wait_for(waiting["id"])["status"] == "cancelled"
    assert cancelled.words == ["begin", "JobCancelled", "finally"]
    assert node.exit_code is None
    node.send(signal.SIGTERM)
    assert node.wait() == 0
    assert witness.words == ["begin", "JobInterrupted"]
    for record in (nodes.show(job["id"]), nodes.show(other["id"])):
        assert (record["status"], record["attempt"]) == ("queued", 0)


@on_redis
def test_sigquit_kills_at_once_and_returns_the_job_to_the_queue(nodes: System, witness: Witness) -> None:
    start(nodes, drain_seconds=60, concurrency=1)
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


def test_rolling_restarts_under_load_lose_nothing(nodes: System, tmp_path: Path) -> None:
    start(nodes, drain_seconds=5)
    witness = Witness(tmp_path / "all")
    jobs: list[str] = []
    has_ended = threading.Event()

    def load() -> None:
        while not has_ended.wait(0.1):
            with contextlib.suppress(AssertionError):
                jobs.append(nodes.trigger("wkr_t_step", input={**witness.input, "seconds": 0.2})["id"])

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(2):
        words = len(witness.words)
        wait_until(lambda words=words: len(witness.words) > words + 20, what="it runs jobs")
        stopped = nodes.workers[-1]
        nodes.start_worker(concurrency=2)
        assert stopped.terminate() == 0
    has_ended.set()
    thread.join()
    tenant_id = nodes.session.headers["x-tenant-id"]
    found = "SELECT status, attempt, count(*) FROM jobs WHERE tenant_id = %s GROUP BY status, attempt"
    wait_until(
        lambda: nodes.query(found, tenant_id) == [("completed", 1, len(jobs))],
        what=lambda: f"all of {len(jobs)} jobs are completed: {nodes.query(found, tenant_id)}",
    )
    words = Counter(witness.words)
    assert words["begin"] == words["end"] == len(jobs)
    print(f"{len(jobs)} jobs over two restarts, each run once")  # noqa: T201 - a figure


@on_redis
def test_the_handlers_of_a_killed_node_and_their_subprocesses_end_with_it_and_no_folder_of_shared_memory_is_left(
    nodes: System, witness: Witness, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    nodes.workers.append(node := nodes.spawn("worker", "-c", "4", environ={**HANDLERS, "TMPDIR": str(folder)}))
    nodes.await_workers()
    nodes.trigger("wkr_t_starts", input=witness.input)
    witness.wait_for("begin")
    tree = node.children
    assert len(tree) >= 5
    node.kill()
    wait_until(lambda: not any(process.is_running() for process in tree), what="all of its processes have ended")
    assert not list(folder.glob("pymp-*"))


# Draining --------------------------------------------------------------------------------------------------------


@on_redis
def test_a_paused_node_finishes_what_runs_takes_no_more_and_can_be_resumed(nodes: System) -> None:
    process = start(nodes, drain_seconds=60, AVA_HEARTBEAT_SECONDS="0.5")

    def node() -> dict[str, Any]:
        found = nodes.get("/v1/ava/nodes", headers=PLATFORM).json()["data"]
        return next(each for each in found if each["pid"] == process.pid)

    running = nodes.trigger("wkr_sleep", input={"seconds": 60})
    nodes.wait_for(running["id"], "running")
    node_id = node()["id"]
    assert nodes.post(f"/v1/ava/nodes/{node_id}/pause").status_code == 403, "a role of a tenant"
    body = {"reason": "a new disk"}
    paused = nodes.post(f"/v1/ava/nodes/{node_id}/pause", headers=PLATFORM, json=body).json()["data"]
    assert (paused["state"], paused["paused"]["by"]["id"]) == ("live", "usr_test")
    (shown,) = nodes.get("/v1/ava/nodes", params={"filter[paused]": "true"}).json()["data"]
    assert (shown["id"], shown["paused"]["by"], shown["paused"]["reason"]) == (node_id, None, "a new disk")
    wait_until(lambda: "takes no new ones" in process.output and node()["queues"] == [], what="it is paused")
    waiting = [nodes.trigger("wkr_sleep", input={"seconds": 0}) for _ in range(3)]
    # A job that a living node might still take would be explained by its place in the queue.
    for job in waiting:
        wait_until(
            lambda job=job: "no live worker" in nodes.get(f"/v1/ava/jobs/{job['id']}/why").json()["data"]["sentence"],
            what="no node serves it",
        )
    nodes.cancel(running["id"])
    nodes.wait_for(running["id"], "cancelled")
    wait_until(lambda: node()["busy"] == 0, what="the node is idle")
    assert {nodes.show(job["id"])["status"] for job in waiting} == {"queued"}
    assert process.exit_code is None, "it stays"
    assert nodes.post(f"/v1/ava/nodes/{node_id}/resume", headers=PLATFORM).json()["data"]["paused"] is None
    for job in waiting:
        nodes.wait_for(job["id"], "completed")
    # Only a node that runs can be paused.
    for unknown in ("node_01h455vb4pex5vsknk084sn02q", "node_x", "\x00"):
        assert nodes.post(f"/v1/ava/nodes/{unknown}/pause", headers=PLATFORM).status_code in (400, 404)


# What comes by the broker -----------------------------------------------------------------------------------------


@on_redis
def test_a_node_refuses_what_would_stop_it_or_make_it_deaf_and_exits_at_once_when_it_is_idle(nodes: System) -> None:
    node = start(nodes, drain_seconds=60, AVA_LOG_FORMAT="json")
    app = make_app(load(nodes.environ), consumes=True)
    for command, arguments in COMMANDS:
        assert f"refuses the command {command}" in _ask(app, command, **arguments)["error"]
    for _ in range(2):
        job = nodes.trigger("wkr_sleep", input={"seconds": 0.1})
        assert nodes.wait_for(job["id"])["status"] == "completed"
    assert node.exit_code is None
    assert _ask(app, "ping") == {"ok": "pong"}
    assert _ask(app, "stats")["pool"]["max-concurrency"] == 2
    assert {queue["name"] for queue in _ask(app, "active_queues")} == {"default", "there"}
    assert "Remote control: the command shutdown is refused." in node.output
    assert "Control command error" not in node.output
    app.pool.force_close_all()
    assert node.terminate() == 0
    lines = [json.loads(line) for line in node.output.splitlines()]
    assert "Warm shutdown (MainProcess)" in {line["msg"] for line in lines}
    assert nodes.query("SELECT stopped_at IS NOT NULL FROM nodes WHERE pid = %s", node.pid) == [(True,)]


def _ask(app: Celery, command: str, **arguments: Any) -> Any:
    """Returns the node's reply. A node that has just started may miss a command, so it is sent until a reply comes."""

    def reply() -> Any:
        replies = app.control.broadcast(command, arguments=arguments, reply=True, timeout=3, limit=1)
        return [found for each in replies for found in each.values()]

    return wait_until(reply, seconds=30, what=f"a reply to {command}")[0]


@on_redis
def test_celerys_own_command_starts_a_node(nodes: System, tmp_path: Path) -> None:
    environ = {**nodes.environ, **HANDLERS}
    argv = (sys.executable, "-m", "celery", "-A", "ava.app", "worker", "-c", "2", "-l", "info")
    log = tmp_path / "celery.log"
    with log.open("wb") as output:
        celery = ChildProcess.start(Program(name="celery", argv=argv, environ=environ), output)
    try:
        wait_until(lambda: "ready." in log.read_text(), seconds=30, what=log.read_text)
        job = nodes.trigger("wkr_t_nothing")
        assert nodes.wait_for(job["id"])["status"] == "completed"
        waiting = nodes.trigger("wkr_t_work", input={"seconds": 60})
        nodes.wait_for(waiting["id"], "running")
        nodes.cancel(waiting["id"])
        assert nodes.wait_for(waiting["id"])["status"] == "cancelled"
    finally:
        celery.stop()
    assert celery.process.returncode == 0


@on_redis
def test_a_job_waits_for_a_node_that_has_its_handler(nodes: System) -> None:
    rich = start(nodes, drain_seconds=60, concurrency=1)
    poor = nodes.spawn("worker", "-c", "1", "-q", "there", environ={"AVA_HANDLERS": "workers"})
    nodes.workers.append(poor)
    nodes.await_workers()
    rich.terminate()
    job = nodes.trigger("wkr_t_only_there")
    wait_until(lambda: "defers its jobs" in poor.output, seconds=20)
    assert nodes.show(job["id"])["status"] == "queued"
    poor.terminate()
    nodes.start_worker(concurrency=1)
    assert nodes.wait_for(job["id"], seconds=30)["attempt"] == 1
