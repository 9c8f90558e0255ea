"""Slots: many runs of concurrent workers in one process."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import running_system

ENVIRON = {
    "AVA_HANDLERS": "workers,tests.acceptance.slot_handlers,tests.acceptance.async_handlers",
    "AVA_SLOT_PROCESS_MAX_MEMORY_MB": "500",
}


@pytest.fixture(scope="module")
def slots(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node with one pool process and a slot process of 40 slots, for all tests of the file."""
    folder = tmp_path_factory.mktemp("slots")
    with running_system(folder, module_database_url, module_broker_url, workers=0, environ=ENVIRON) as system:
        system.start_worker("--slots", "40", concurrency=1)
        yield system


def _slot_pid(system: System) -> int:
    """Returns the slot process that takes jobs."""
    return int(
        wait_until(
            lambda: system.query(
                "SELECT pid FROM nodes WHERE has_slots AND stopped_at IS NULL ORDER BY started_at DESC"
            ),
            what="there is a slot process",
        )[0][0]
    )


def _trigger_many(system: System, count: int, **entry: Any) -> list[str]:
    answer = system.post("/v1/ava/jobs/bulk", json={"jobs": [entry] * count})
    assert answer.status_code == 201, answer.text
    return [job["id"] for job in answer.json()["data"]]


def _await_running(system: System, ids: list[str]) -> None:
    wait_until(
        lambda: system.query(
            "SELECT count(*) FROM jobs WHERE status = 'running' AND worker_id LIKE 'wkr_slot_%%'"
        )[0][0] >= len(ids),
        what="all run",
    )  # fmt: skip


def test_many_runs_share_one_process_and_others_have_their_own(slots: System) -> None:
    ids = _trigger_many(slots, 30, worker_id="wkr_slot_sleep", input={"seconds": 2})
    beside = slots.trigger("wkr_slot_beside")
    records = [slots.wait_for(job_id) for job_id in ids]
    assert {record["status"] for record in records} == {"completed"}
    assert {record["output"]["pid"] for record in records} == {_slot_pid(slots)}
    assert slots.wait_for(beside["id"])["output"]["pid"] not in (None, _slot_pid(slots))
    moments = {
        name: [datetime.fromisoformat(each[name]) for each in records] for name in ("started_at", "completed_at")
    }
    assert max(moments["started_at"]) < min(moments["completed_at"]), "all ran at once"
    assert slots.messages(ids[0])[0] == "Worker handler started"
    assert slots.messages(ids[0])[-1].startswith("Handler completed in ")
    assert len(slots.messages(ids[0])) == 2


def test_what_runs_say_at_once_is_kept_apart(slots: System) -> None:
    tags = [f"tag{number}x" for number in range(8)]
    jobs = {tag: slots.trigger("wkr_slot_speak", input={"tag": tag})["id"] for tag in tags}
    for tag, job_id in jobs.items():
        assert slots.wait_for(job_id)["output"] == tag
        messages = slots.messages(job_id)
        own = [f"print {tag} {number}" for number in range(5)]
        own += [f"env {tag} ", f"log {tag}", f"error {tag}", f"task {tag}", f"thread {tag}", f"thread's log {tag}"]
        assert set(own) <= set(messages), messages
        assert any(f"warning {tag}" in message for message in messages) or tag != tags[0]
        assert not [each for each in messages for other in tags if other != tag and other in each], messages


def test_a_cancel_and_a_time_out_stop_one_run_alone(slots: System) -> None:
    pid = _slot_pid(slots)
    ids = _trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 4})
    late = slots.trigger("wkr_slot_late")["id"]
    _await_running(slots, ids)
    assert slots.cancel(ids[0]).ok
    assert slots.wait_for(ids[0], seconds=3)["status"] == "cancelled"
    assert slots.wait_for(late)["error"] == "Timeout: exceeded 0.5 s"
    assert {slots.wait_for(job_id)["status"] for job_id in ids[1:]} == {"completed"}
    assert _slot_pid(slots) == pid


def test_an_error_has_a_traceback_and_is_repeated(slots: System) -> None:
    job_id = slots.trigger("wkr_slot_fail")["id"]
    record = slots.wait_for(job_id)
    assert (record["status"], record["attempt"], record["error"]) == ("failed", 2, "ValueError: it failed")
    tracebacks = [each for each in slots.messages(job_id) if each.startswith("Traceback")]
    assert len(tracebacks) == 2
    assert "slot_run.py" not in tracebacks[0], "no frame of ours"


def test_a_task_that_exits_ends_neither_its_process_nor_other_runs(slots: System) -> None:
    pid = _slot_pid(slots)
    ids = _trigger_many(slots, 3, worker_id="wkr_slot_sleep", input={"seconds": 1})
    slots.wait_for(slots.trigger("wkr_slot_exit")["id"])
    assert {slots.wait_for(job_id)["output"]["pid"] for job_id in ids} == {pid}


def test_a_process_with_too_much_memory_takes_no_more_and_is_replaced_once_it_is_empty(slots: System) -> None:
    pid = _slot_pid(slots)
    ids = _trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 4})
    _await_running(slots, ids)
    holding = slots.trigger("wkr_slot_hold", input={"mb": 600})["id"]
    assert slots.wait_for(holding)["output"] == pid
    records = [slots.wait_for(job_id) for job_id in ids]
    assert {(record["status"], record["attempt"], record["output"]["pid"]) for record in records} == {
        ("completed", 1, pid)
    }
    later = slots.trigger("wkr_slot_sleep")["id"]
    assert slots.wait_for(later)["output"]["pid"] == _slot_pid(slots) != pid
    assert slots.query("SELECT sum(losses) FROM jobs WHERE id = ANY(%s::uuid[])", _uuids(slots, ids)) == [(0,)]


class _Answers(BaseHTTPRequestHandler):
    """Answers each request with its path, a moment later."""

    def do_GET(self) -> None:
        time.sleep(0.1)
        body = self.path[1:].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_the_usual_clients_of_asyncio_work_beside_each_other(slots: System) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        given = {"url": f"http://127.0.0.1:{server.server_port}", "database": slots.database_url}
        jobs = [slots.trigger("wkr_slot_clients", input={**given, "number": number})["id"] for number in range(15)]
        for number, job_id in enumerate(jobs):
            record = slots.wait_for(job_id)
            assert record["output"] == [str(number), str(number), number, number], record
            assert {f"httpx {number}", f"aiohttp {number}"} <= set(slots.messages(job_id))
    finally:
        server.shutdown()
        server.server_close()


def test_a_durable_wait_holds_no_slot(slots: System) -> None:
    job_id = slots.trigger("wkr_slot_wait")["id"]
    record = slots.wait_for(job_id)
    assert (record["status"], record["output"]) == ("completed", [1, 2]), record
    assert "Handler continues" in slots.messages(job_id)


def test_a_run_that_blocks_the_loop_is_named_and_the_others_lose_nothing_but_time(slots: System) -> None:
    pid = _slot_pid(slots)
    ids = _trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 1})
    blocking = slots.trigger("wkr_slot_block", input={"seconds": 3})["id"]
    assert slots.wait_for(blocking)["status"] == "completed"
    (named,) = [each for each in slots.messages(blocking) if "blocks the event loop" in each]
    assert "in _sit" in named
    assert {(record["status"], record["attempt"]) for record in map(slots.wait_for, ids)} == {("completed", 1)}
    assert _slot_pid(slots) == pid


def test_a_run_that_swallows_its_cancel_costs_the_process_and_the_others_no_loss(slots: System) -> None:
    pid = _slot_pid(slots)
    ids = _trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 5})
    deaf = slots.trigger("wkr_slot_deaf")["id"]
    _await_running(slots, [*ids, deaf])
    assert slots.cancel(deaf).ok
    assert slots.wait_for(deaf, seconds=15)["status"] == "cancelled"
    records = [slots.wait_for(job_id) for job_id in ids]
    assert {(record["status"], record["attempt"]) for record in records} == {("completed", 1)}
    assert {record["output"]["pid"] for record in records} == {_slot_pid(slots)} != {pid}
    assert slots.query("SELECT sum(losses) FROM jobs WHERE id = ANY(%s::uuid[])", _uuids(slots, ids)) == [(0,)]


def test_a_killed_slot_process_loses_no_job(slots: System) -> None:
    ids = _trigger_many(slots, 30, worker_id="wkr_slot_sleep", input={"seconds": 3})
    _await_running(slots, ids)
    pid = _slot_pid(slots)
    psutil.Process(pid).kill()
    records = [slots.wait_for(job_id, seconds=40) for job_id in ids]
    assert {(record["status"], record["attempt"]) for record in records} == {("completed", 1)}
    assert pid not in {record["output"]["pid"] for record in records}


def test_a_node_that_is_asked_to_end_lets_its_runs_end_and_one_without_slots_runs_such_jobs_too(slots: System) -> None:
    ids = _trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 2})
    _await_running(slots, ids)
    node = slots.workers.pop()
    ran_by = slots.query("SELECT DISTINCT node_id::text FROM jobs WHERE id = ANY(%s::uuid[])", _uuids(slots, ids))
    try:
        assert node.terminate() == 0, node.output
        assert {slots.show(job_id)["status"] for job_id in ids} == {"completed"}
        stopped = slots.query("SELECT id::text FROM nodes WHERE stopped_at IS NOT NULL")
        assert ran_by
        assert set(ran_by) <= set(stopped)
        slots.start_worker(concurrency=1)
        assert slots.wait_for(slots.trigger("wkr_slot_sleep")["id"])["status"] == "completed"
        slots.workers.pop().terminate()
    finally:
        slots.start_worker("--slots", "40", concurrency=1)


def test_a_node_that_is_killed_in_order_counts_no_loss_and_one_without_queues_says_so(slots: System) -> None:
    (job_id,) = _trigger_many(slots, 1, worker_id="wkr_slot_sleep", input={"seconds": 5})
    _await_running(slots, [job_id])
    node = slots.workers.pop()
    try:
        node.send(signal.SIGQUIT)
        assert node.wait() == 0, node.output
        wait_until(lambda: "Handler interrupted, the worker is shutting down" in slots.messages(job_id))
        assert slots.query("SELECT max(losses) FROM jobs WHERE id = ANY(%s::uuid[])", _uuids(slots, [job_id])) == [(0,)]
        idle = slots.spawn("worker", "-c", "0", "--slots", "5", "-q", "default")
        assert idle.wait() == 1
        assert "-q names no queue of concurrent workers; leave out --slots." in idle.output
    finally:
        slots.start_worker("--slots", "40", concurrency=1)
    assert slots.wait_for(job_id)["attempt"] == 1


def _uuids(system: System, ids: list[str]) -> list[str]:
    from ava.domain.ids import decode

    return [str(decode("job", job_id)) for job_id in ids]
