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
from ava.broker.app import make_app
from harness.polling import wait_until
from harness.servers.postgres import Databases
from harness.system import System

# What a handler does to its process has nothing to do with the broker.
on_redis = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
of_module_on_redis = pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)


@pytest.fixture(scope="module")
def node(_databases: Databases, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A node of one process, so that the next job would run in the same process."""
    with _databases.fresh(is_pooled=True) as database_url:
        system = System(
            tmp_path_factory.mktemp("spoiled"),
            database_url=database_url,
            broker_url=module_broker_url,
            api_processes=1,
        )
        # The node logs why a process was not restored.
        system.expects_traceback = True
        try:
            system.start(concurrency=1, environ={"AVA_HANDLERS": "workers,tests.acceptance.handlers"})
            yield system
        finally:
            system.stop()
        system.assert_clean()


@pytest.mark.parametrize("seconds", [0, 1], ids=["briefly", "for_a_second"])
@pytest.mark.parametrize("how", ["descriptors", "reused descriptors", "logging"])
@of_module_on_redis
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


@of_module_on_redis
def test_a_replaced_environment_is_put_back(node: System) -> None:
    job = node.trigger("wkr_t_spoil", input={"how": "environment"})
    assert node.wait_for(job["id"])["attempt"] == 1
    seen = node.wait_for(node.trigger("wkr_t_look_around")["id"])["output"]
    assert seen["path"]
    assert node.messages(job["id"]).count("Worker handler started") == 1


@of_module_on_redis
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
@on_redis
def test_a_process_that_has_served_its_time_is_replaced_and_its_jobs_are_shown_as_they_ended(
    system: System, name: str, value: str, max_jobs: int
) -> None:
    system.start(concurrency=1, environ={"AVA_HANDLERS": "workers,tests.acceptance.handlers", name: value})
    with _task_events(system) as events:
        ids = [system.trigger("wkr_t_nothing")["id"] for _ in range(7)]
        ended = [system.wait_for(job_id) for job_id in ids]
        assert Counter(events(14)) == {"task-started": 7, "task-succeeded": 7}
    assert {record["status"] for record in ended} == {"completed"}
    pids = Counter(record["output"]["pid"] for record in ended)
    assert max(pids.values()) <= max_jobs
    assert system.query("SELECT max(losses), max(run_no) FROM jobs") == [(0, 1)]
    _assert_counters_are_merged(system.workers[0].pid, jobs=7)


def _assert_counters_are_merged(pid: int, *, jobs: int) -> None:
    """Assert that a node has counted so many jobs, in the files of its two processes and in the merged ones."""
    (folder,) = Path(tempfile.gettempdir()).glob(f"ava-counters-{pid}-*")
    # Four files of each of the two, and two merged ones.
    wait_until(lambda: len(list(folder.glob("*.db"))) <= 10, what=lambda: f"files are merged: {os.listdir(folder)}")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    labels = {"worker": "wkr_t_nothing", "result": "completed"}
    assert registry.get_sample_value("ava_attempts_total", labels) == jobs


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
