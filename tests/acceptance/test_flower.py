"""Flower, started as in the Procfile, with real nodes: it shows which jobs run, and never their input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from harness.polling import wait_until
from harness.system import System


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
def flower(system: System, tmp_path: Path) -> Iterator[Flower]:
    system.start(concurrency=2, environ={"AVA_HANDLERS": "tests.acceptance.dashboard_handlers"})
    flower = Flower(system, tmp_path)
    yield flower
    flower.child.stop()


# tests/integration/test_reply_queue.py: what it asks, on both brokers.
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_flower_shows_the_nodes_and_the_jobs_that_run(flower: Flower, system: System) -> None:
    wait_until(
        lambda: any(flower.get("workers", status="true").values()),
        seconds=40,
        what=lambda: f"a node is online; {flower.log.read_text()[-2000:]}",
    )
    # A node sends the events of its jobs once Flower has asked it to.
    wait_until(
        lambda: system.trigger("wkr_echo") and flower.get("tasks"),
        seconds=60,
        what=lambda: f"Flower shows a job; {flower.log.read_text()[-2000:]}",
    )
    secret = "for-the-handler-alone"
    job = system.trigger("wkr_report", input={"steps": 600, "seconds": 0.1, "note": secret})
    quick = system.trigger("wkr_echo")
    system.wait_for(job["id"], "running")
    system.wait_for(quick["id"], "completed")

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
    system.cancel(job["id"])
    system.wait_for(job["id"], "cancelled")
    wait_until(
        lambda: task_of(job, "REVOKED"), seconds=20, what=lambda: f"it was revoked; {json.dumps(flower.get('tasks'))}"
    )
