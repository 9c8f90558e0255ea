"""A handler that spoils its process ends once, as it ended, and no other job runs in that process."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from ava import settings as settings_module
from ava.broker.celery_app import make_app
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis

# What a handler does to its process has nothing to do with the broker.
pytestmark = on_redis
HANDLERS = {"AVA_HANDLERS": "workers,tests.acceptance.handlers"}


@pytest.fixture(scope="module")
def node(_without_nodes: System) -> System:
    """A node of one process, so that the next job would run in the same process."""
    # The node logs why a process was not restored.
    _without_nodes.expects_traceback = True
    _without_nodes.start_nodes(0, environ=HANDLERS)
    _without_nodes.start_worker(concurrency=1, queues="default")
    return _without_nodes


@pytest.mark.parametrize(
    ("how", "seconds"), [("descriptors", 0), ("descriptors", 1), ("reused descriptors", 0), ("logging", 1)]
)
def test_a_handler_that_spoils_its_process_completes_once(node: System, how: str, seconds: float) -> None:
    for _ in range(2):
        job = node.trigger("wkr_t_spoil", input={"how": how, "seconds": seconds})
        after = node.trigger("wkr_t_look_around")
        record = node.wait_for(job["id"])
        assert (record["status"], record["attempt"]) == ("completed", 1), record
        messages = node.messages(job["id"])
        assert messages.count("Worker handler started") == 1
        assert messages[-1].startswith("Handler completed in ")
        assert "spoiled" in messages
        seen = node.wait_for(after["id"])
        assert seen["status"] == "completed"
        assert seen["output"]["pid"] != record["output"]["pid"]
    assert node.query("SELECT max(losses), max(run_no) FROM jobs") == [(0, 1)]


def test_a_time_out_holds_without_descriptors(node: System) -> None:
    job = node.trigger("wkr_t_spoil_and_wait")
    record = node.wait_for(job["id"])
    assert (record["status"], record["error"]) == ("failed", "Timeout: exceeded 2 s")
    assert node.messages(job["id"]).count("Worker handler started") == 1
    assert node.messages(job["id"])[-1].startswith("Handler failed after ")
    assert not node.messages(job["id"])[-1].endswith("(its process was killed)"), "the child ended it by itself"
    assert os.path.exists(f"/proc/{node.workers[0].pid}")


@pytest.mark.parametrize(
    ("name", "value", "max_jobs"), [("AVA_MAX_JOBS_PER_PROCESS", "3", 3), ("AVA_MAX_MEMORY_PER_PROCESS", "1", 1)]
)
def test_a_process_that_has_served_its_time_is_replaced_and_its_jobs_are_shown_as_they_ended(
    node: System, name: str, value: str, max_jobs: int
) -> None:
    own = node.spawn("worker", "-c", "1", "-q", "there", environ={name: value})
    node.workers.append(own)
    node.await_workers()
    with _task_events(node) as events:
        ids = [node.trigger("wkr_t_only_there")["id"] for _ in range(7)]
        ended = [node.wait_for(job_id) for job_id in ids]
        assert Counter(events(14)) == {"task-started": 7, "task-succeeded": 7}
    assert {record["status"] for record in ended} == {"completed"}
    pids = Counter(record["output"]["pid"] for record in ended)
    assert max(pids.values()) <= max_jobs
    assert node.query("SELECT max(losses), max(run_no) FROM jobs WHERE queue = 'there'") == [(0, 1)]
    _assert_counters_are_merged(own.pid, jobs=7)
    node.workers.remove(own)
    assert own.terminate() == 0


def test_a_process_with_a_thread_of_an_earlier_job_captures_no_output(node: System) -> None:
    own = node.spawn(
        "worker", "-c", "1", "-q", "captured", environ={"AVA_HANDLERS": "tests.acceptance.capturing_handlers"}
    )
    node.workers.append(own)
    node.await_workers()
    left = node.wait_for(node.trigger("wkr_t_leave_writer")["id"])
    job = node.trigger("wkr_t_capture")
    captured = node.wait_for(job["id"])
    assert (left["status"], captured["status"]) == ("completed", "completed")
    assert captured["output"]["pid"] != left["output"]["pid"]
    lines = node.messages(job["id"])
    assert lines.count("own") == 2
    assert "left by another job" not in lines
    # A process in which no thread is left runs the next job as well.
    assert node.wait_for(node.trigger("wkr_t_capture")["id"])["output"] == captured["output"]
    node.workers.remove(own)
    assert own.terminate() == 0


def _assert_counters_are_merged(pid: int, *, jobs: int) -> None:
    """Assert that a node has counted so many jobs, in the files of its two processes and in the merged ones."""
    (folder,) = Path(tempfile.gettempdir()).glob(f"ava-counters-{pid}-*")
    # Four files of each of the two, and two merged ones.
    wait_until(lambda: len(list(folder.glob("*.db"))) <= 10, what=lambda: f"files are merged: {os.listdir(folder)}")
    labels = {"worker": "wkr_t_only_there", "result": "completed"}

    def count() -> float | None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
        return registry.get_sample_value("ava_attempts_total", labels)

    # The node may merge the files of a process that has ended while this process reads them.
    wait_until(lambda: count() == jobs, what=lambda: f"{count()} jobs are counted")


@contextmanager
def _task_events(system: System) -> Iterator[Callable[[int], list[str]]]:
    """Receive Celery's events as Flower does. Yields a function that waits for so many starts and ends of tasks."""
    seen: list[str] = []
    app = make_app(settings_module.load(system.environ))
    with app.connection_for_read() as broker:
        receiver = app.events.Receiver(broker, handlers={"*": lambda event: seen.append(event["type"])})

        def drain() -> None:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.5)

        def has_heartbeat() -> bool:
            receiver.wakeup_workers()
            drain()
            return "worker-heartbeat" in seen

        def wait_for(count: int) -> list[str]:
            def of_tasks() -> list[str]:
                drain()
                return [kind for kind in seen if kind.startswith("task-") and kind != "task-received"]

            return wait_until(lambda: (found := of_tasks()) and len(found) >= count and found, what=lambda: str(seen))

        with receiver.consumer_context(wakeup=False) as (connection, _, _):
            wait_until(has_heartbeat, what="the events of the node are received")
            # As Flower does; until then the node sends no events of its tasks.
            wait_until(lambda: app.control.enable_events(reply=True, timeout=5.0), what="the node sends them all")
            yield wait_for
