"""Slots: many runs of concurrent workers in one process.

On RabbitMQ, where its event loop is uvloop: a run's start, cancel and log, an exit, and an urgent job's turn.
"""

from __future__ import annotations

import hashlib
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest
import requests

from ava.local.start import free_port
from chaos import leaks
from harness.polling import wait_until
from harness.running_process import lives
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.ids import uuids
from tests.acceptance.slot_system import await_ended, await_running, has_uvloop, running_slots, slot_pid, trigger_many


@pytest.fixture(scope="module")
def slots(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node with one pool process and a slot process of 40 slots, for all tests of the file."""
    with running_slots(tmp_path_factory.mktemp("slots"), module_database_url, module_broker_url) as system:
        yield system


def test_the_loop_is_that_of_asyncio_or_uvloop_where_it_is_installed(slots: System, module_broker_url: str) -> None:
    loop = slots.wait_for(slots.trigger("wkr_slot_sleep")["id"])["output"]["loop"]
    assert loop.partition(".")[0] == ("uvloop" if has_uvloop(module_broker_url) else "asyncio")


@on_redis
def test_many_runs_share_one_process_and_others_have_their_own(slots: System) -> None:
    ids = trigger_many(slots, 30, worker_id="wkr_slot_sleep", input={"seconds": 2})
    beside = slots.trigger("wkr_slot_beside")
    records = await_ended(slots, ids)
    assert {record["status"] for record in records} == {"completed"}
    assert {record["output"]["pid"] for record in records} == {slot_pid(slots)}
    assert slots.wait_for(beside["id"])["output"]["pid"] not in (None, slot_pid(slots))
    started, completed = ([record[name] for record in records] for name in ("started_at", "completed_at"))
    assert max(started) < min(completed), "all ran at once"
    assert slots.messages(ids[0])[0] == "Worker handler started"
    assert slots.messages(ids[0])[-1].startswith("Handler completed in ")
    assert len(slots.messages(ids[0])) == 2


def test_concurrent_runs_do_not_mix_their_output(slots: System) -> None:
    tags = [f"tag{number}x" for number in range(8)]
    jobs = {}
    for number, tag in enumerate(tags):
        body = {"worker_id": "wkr_slot_speak", "input": {"tag": tag}}
        caller = {"traceparent": f"00-{number + 1:032x}-b7ad6b7169203331-01"}
        jobs[tag] = slots.post("/v1/ava/jobs", json=body, headers=caller).json()["data"]["id"]
    for number, (tag, job_id) in enumerate(jobs.items()):
        record = slots.wait_for(job_id)
        assert record["output"] == {"tag": tag, "traces": [f"{number + 1:032x}"] * 4}
        assert record["progress"]["message"] == tag
        messages = slots.messages(job_id)
        own = [f"print {tag} {number}" for number in range(5)]
        own += [f"env {tag} ", f"log {tag}", f"error {tag}", f"task {tag}", f"thread {tag}", f"thread's log {tag}"]
        assert set(own) <= set(messages), messages
        assert any(f"warning {tag}" in message for message in messages) or tag != tags[0]
        assert not [each for each in messages for other in tags if other != tag and other in each], messages


def test_a_cancel_and_a_time_out_stop_one_run_alone(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 4})
    late = slots.trigger("wkr_slot_late")["id"]
    await_running(slots, ids)
    assert slots.cancel(ids[0]).ok
    assert slots.wait_for(ids[0], seconds=3)["status"] == "cancelled"
    assert slots.wait_for(late)["error"] == "Timeout: exceeded 0.5 s"
    assert {slots.wait_for(job_id)["status"] for job_id in ids[1:]} == {"completed"}
    assert slot_pid(slots) == pid


@on_redis
def test_an_error_has_a_traceback_and_is_repeated(slots: System) -> None:
    job_id = slots.trigger("wkr_slot_fail")["id"]
    record = slots.wait_for(job_id)
    assert (record["status"], record["attempt"], record["error"]) == ("failed", 2, "ValueError: it failed")
    tracebacks = [each for each in slots.messages(job_id) if each.startswith("Traceback")]
    assert len(tracebacks) == 2
    assert "slot_run.py" not in tracebacks[0], "no frame of ours"


def test_a_task_that_exits_ends_neither_its_process_nor_other_runs(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 3, worker_id="wkr_slot_sleep", input={"seconds": 1})
    slots.wait_for(slots.trigger("wkr_slot_exit")["id"])
    assert {slots.wait_for(job_id)["output"]["pid"] for job_id in ids} == {pid}


@on_redis
def test_a_process_with_too_much_memory_takes_no_more_and_is_replaced_once_it_is_empty(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 4})
    await_running(slots, ids)
    holding = slots.trigger("wkr_slot_hold", input={"mb": 600})["id"]
    assert slots.wait_for(holding)["output"] == pid
    assert _ends(slots, ids) == {("completed", 1, 0, pid)}
    # It looks at its memory once a second, so until then it takes jobs.
    wait_until(lambda: slot_pid(slots) != pid, what="the process is replaced")
    later = slots.trigger("wkr_slot_sleep")["id"]
    assert slots.wait_for(later)["output"]["pid"] == slot_pid(slots)


def _ends(system: System, ids: list[str]) -> set[tuple[str, int, int, int]]:
    """Returns how these jobs end: the status, attempt, losses and process of each."""
    records = await_ended(system, ids)
    return {(each["status"], each["attempt"], each["losses"], each["output"]["pid"]) for each in records}


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


@on_redis
def test_the_usual_clients_of_asyncio_work_beside_each_other(slots: System) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        given = {"url": f"http://127.0.0.1:{server.server_port}", "database": slots.database_url}
        jobs = [slots.trigger("wkr_slot_clients", input={**given, "number": number})["id"] for number in range(8)]
        for number, job_id in enumerate(jobs):
            record = slots.wait_for(job_id)
            assert record["output"] == [str(number), str(number), number, number], record
            assert {f"httpx {number}", f"aiohttp {number}"} <= set(slots.messages(job_id))
    finally:
        server.shutdown()
        server.server_close()


@on_redis
def test_a_secret_is_masked_in_its_run_and_reaches_no_other(slots: System) -> None:
    secrets = {"ten_test": "first-9b41de-of-the-slots", "ten_other": "other-77c0aa-of-the-slots"}
    jobs: dict[str, list[str]] = {}
    for tenant, secret in secrets.items():
        body, of_tenant = {"secrets": {"TOKEN": secret}}, {"x-tenant-id": tenant}
        assert slots.request("PATCH", "/v1/ava/workers/wkr_slot_leak", json=body, headers=of_tenant).ok
    entries = [{"worker_id": "wkr_slot_leak", "input": {"fails": fails}} for fails in (False, False, True)]
    for tenant in secrets:
        response = slots.post("/v1/ava/jobs/bulk", json={"jobs": entries}, headers={"x-tenant-id": tenant})
        jobs[tenant] = [job["id"] for job in response.json()["data"]]
    for tenant, secret in secrets.items():
        records = [_record_of(slots, tenant, job_id) for job_id in jobs[tenant]]
        digest = hashlib.sha256(secret.encode()).hexdigest()
        assert [record["output"] for record in records[:2]] == [{"digest": digest, "••••••": "••••••"}] * 2
        assert records[2]["error"] == "ValueError: refused ••••••"
        assert {record["progress"]["message"] for record in records} == {"with ••••••"}
        path = f"/v1/ava/jobs/{jobs[tenant][0]}/logs"
        lines = slots.get(path, headers={"x-tenant-id": tenant}).json()["data"]["logs"]
        messages = [line["msg"] for line in lines]
        assert messages.count("••••••") == 6, messages
        assert "the token is ••••••" in messages
    forms = {form for secret in secrets.values() for form in leaks.forms(secret)}
    stored = leaks.stored_strings(slots).items()
    assert {source for source, content in stored if any(form in content for form in forms)} == set()


def _record_of(system: System, tenant: str, job_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        record: dict[str, Any] = system.get(f"/v1/ava/jobs/{job_id}", headers={"x-tenant-id": tenant}).json()["data"]
        return record if record["completed_at"] else None

    return wait_until(ended, what=f"{job_id} has ended") or {}


@on_redis
def test_celerys_signals_are_sent_in_the_context_of_their_run(slots: System) -> None:
    jobs = {tag: slots.trigger("wkr_slot_signalled", input={"tag": tag})["id"] for tag in ("one", "two", "six")}
    task_ids = set()
    for tag, job_id in jobs.items():
        task_id = slots.wait_for(job_id)["output"]
        messages = slots.messages(job_id)
        own = [f"begins {task_id}", f"result completed of {tag}", f"ends {task_id} {task_id} {tag}"]
        assert [each for each in messages if each.split()[0] in ("begins", "result", "ends")] == own
        task_ids.add(task_id)
    assert len(task_ids - {"nothing"}) == 3


@on_redis
def test_a_limit_and_a_rate_hold_for_runs_in_slots(slots: System) -> None:
    limited = trigger_many(slots, 10, worker_id="wkr_slot_limited")
    rated = trigger_many(slots, 8, worker_id="wkr_slot_rated")
    assert max(slots.wait_for(job_id)["output"] for job_id in limited) == 3
    starts = sorted(datetime.fromisoformat(slots.wait_for(job_id)["started_at"]) for job_id in rated)
    # Of eight at 0.2 s, any one may start late.
    assert (starts[-1] - starts[0]).total_seconds() >= 1.2


def test_an_urgent_job_starts_before_others_that_wait_for_a_slot(slots: System) -> None:
    entries = [{"worker_id": "wkr_slot_sleep", "input": {"seconds": 1.5 + number / 20}} for number in range(40)]
    running = [job["id"] for job in slots.post("/v1/ava/jobs/bulk", json={"jobs": entries}).json()["data"]]
    await_running(slots, running)
    waiting = trigger_many(slots, 20, worker_id="wkr_slot_sleep")
    urgent = slots.trigger("wkr_slot_sleep", priority=1)["id"]
    (record,) = await_ended(slots, [urgent])
    assert record["started_at"] <= min(each["started_at"] for each in await_ended(slots, waiting))
    assert {each["status"] for each in await_ended(slots, running)} == {"completed"}


@on_redis
def test_a_node_that_was_frozen_goes_on(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 10, worker_id="wkr_slot_sleep", input={"seconds": 1})
    await_running(slots, ids)
    node = slots.workers[-1]
    # Its command too, as Ctrl-Z does, and first: it ends and starts its processes.
    frozen = [psutil.Process(node.pid), psutil.Process(pid)]
    for process in frozen:
        process.suspend()
    try:
        silent = "SELECT now() - seen_at > interval '4 seconds' FROM nodes WHERE pid = %s AND stopped_at IS NULL"
        wait_until(lambda: slots.query(silent, pid) == [(True,)], what="its heartbeat is old")
    finally:
        for process in reversed(frozen):
            process.resume()
    assert _ends(slots, ids) == {("completed", 1, 0, pid)}
    assert node.exit_code is None, node.output


@on_redis
def test_a_frozen_slot_process_is_replaced_while_the_rest_of_its_node_goes_on(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 10, worker_id="wkr_slot_sleep", input={"seconds": 2})
    await_running(slots, ids)
    # Nothing continues it, and the heartbeats of the pool and of the dispatcher go on.
    psutil.Process(pid).suspend()
    ends = _ends(slots, ids)
    assert {(status, attempt) for status, attempt, _, _ in ends} == {("completed", 1)}
    assert pid not in {ran_in for *_, ran_in in ends}
    wait_until(lambda: not psutil.pid_exists(pid), what="the frozen process has been killed")


@on_redis
def test_a_node_has_several_slot_processes_and_lets_their_runs_end(slots: System) -> None:
    port = free_port()
    options = ("-c", "0", "--slots", "5", "--slot-processes", "2")
    node = slots.spawn("worker", *options, environ={"AVA_HEALTH_PORT": str(port)})
    node.joins = 2
    slots.workers.append(node)
    slots.await_workers()
    ids = trigger_many(slots, 50, worker_id="wkr_slot_sleep", input={"seconds": 4})
    await_running(slots, ids)
    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    (lag,) = re.findall(r"^ava_slot_loop_lag_seconds (\S+)$", metrics, re.MULTILINE)
    assert 0 < float(lag) < 10
    children = {child.pid for child in node.children}
    slots.workers.remove(node)
    assert node.terminate() == 0, node.output
    records = await_ended(slots, ids)
    assert {(record["status"], record["attempt"]) for record in records} == {("completed", 1)}
    pids = Counter(record["output"]["pid"] for record in records)
    assert sorted(count for pid, count in pids.items() if pid in children) == [5, 5]
    stopped = "SELECT count(*) FROM nodes WHERE pid = ANY(%s) AND stopped_at IS NOT NULL"
    assert slots.query(stopped, list(children)) == [(2,)]


@on_redis
def test_a_run_that_blocks_the_loop_is_named_and_the_others_lose_nothing_but_time(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 1})
    blocking = slots.trigger("wkr_slot_block", input={"seconds": 3})["id"]
    assert slots.wait_for(blocking)["status"] == "completed"
    (named,) = [each for each in slots.messages(blocking) if "blocks the event loop" in each]
    assert "in _sit" in named
    assert {(record["status"], record["attempt"]) for record in map(slots.wait_for, ids)} == {("completed", 1)}
    assert slot_pid(slots) == pid


@on_redis
def test_a_run_that_swallows_its_cancel_costs_the_process_and_the_others_no_loss(slots: System) -> None:
    pid = slot_pid(slots)
    ids = trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 5})
    deaf, once = slots.trigger("wkr_slot_deaf")["id"], slots.trigger("wkr_slot_once")["id"]
    await_running(slots, [*ids, deaf, once])
    assert slots.cancel(deaf).ok
    assert slots.wait_for(deaf, seconds=15)["status"] == "cancelled"
    assert slots.wait_for(once)["error"] == "WorkerLost: its slot process was replaced"
    assert _ends(slots, ids) == {("completed", 1, 0, slot_pid(slots))}
    assert slot_pid(slots) != pid


@on_redis
def test_a_killed_slot_process_loses_no_job(slots: System) -> None:
    ids = trigger_many(slots, 30, worker_id="wkr_slot_sleep", input={"seconds": 3})
    await_running(slots, ids)
    pid = slot_pid(slots)
    psutil.Process(pid).kill()
    records = await_ended(slots, ids)
    assert {(record["status"], record["attempt"]) for record in records} == {("completed", 1)}
    assert pid not in {record["output"]["pid"] for record in records}


@on_redis
def test_a_node_that_is_killed_in_order_while_its_runs_end_counts_no_loss(slots: System) -> None:
    ids = trigger_many(slots, 5, worker_id="wkr_slot_sleep", input={"seconds": 2})
    (long,) = trigger_many(slots, 1, worker_id="wkr_slot_sleep", input={"seconds": 60})
    await_running(slots, [*ids, long])
    node = slots.workers.pop()
    try:
        node.send(signal.SIGTERM)
        records = await_ended(slots, ids)
        assert {(record["status"], record["attempt"]) for record in records} == {("completed", 1)}
        assert node.exit_code is None, node.output
        node.send(signal.SIGQUIT)
        assert node.wait() == 0, node.output
        wait_until(lambda: "Handler interrupted, the worker is shutting down" in slots.messages(long))
        found = "SELECT max(losses), max(run_no) FROM jobs WHERE id = ANY(%s::uuid[])"
        assert slots.query(found, uuids(ids)) == [(0, 1)]
        assert slots.query(found, uuids([long]))[0][0] == 0
    finally:
        slots.start_worker("--slots", "40", concurrency=1)
    assert slots.wait_for(long, "running")["attempt"] == 1
    assert slots.cancel(long).ok
    assert slots.wait_for(long)["status"] == "cancelled"


@on_redis
def test_a_node_without_slots_runs_such_jobs_too_and_one_without_queues_says_so(slots: System) -> None:
    node = slots.start_worker(concurrency=1, queues="concurrent")
    ids = trigger_many(slots, 50, worker_id="wkr_slot_sleep", input={"seconds": 2})
    pids = {record["output"]["pid"] for record in await_ended(slots, ids)}
    assert pids & {child.pid for child in node.children}
    slots.workers.remove(node)
    assert node.terminate() == 0
    idle = slots.spawn("worker", "-c", "0", "--slots", "5", "-q", "default", environ={"AVA_HANDLERS": "workers"})
    assert idle.wait() == 1
    assert "-q names no queue of concurrent workers; leave out --slots." in idle.output


@on_redis
def test_no_process_outlives_a_command_that_is_killed(slots: System) -> None:
    node = slots.start_worker("--slots", "5", concurrency=1)
    slots.workers.remove(node)
    below = psutil.Process(node.pid).children(recursive=True)
    assert len(below) >= 3, "the pool, its process, and the slot process"
    psutil.Process(node.pid).kill()
    wait_until(lambda: not any(map(lives, below)), what=lambda: f"all have ended: {below}\n{node.output[-3000:]}")
