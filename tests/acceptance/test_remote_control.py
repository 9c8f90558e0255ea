"""Celery's remote control cannot stop a node, make it deaf or change its size."""

from __future__ import annotations

from typing import Any

from celery import Celery

from ava.broker.app import make_app
from ava.settings import load
from harness.polling import wait_until
from harness.system import System

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("cancel_consumer", {"queue": "default"}),
    ("pool_grow", {"n": 3}),
    ("pool_shrink", {"n": 1}),
    ("rate_limit", {"task_name": "ava.run_job", "rate_limit": "1/h"}),
    ("time_limit", {"task_name": "ava.run_job", "hard": 1}),
    ("add_consumer", {"queue": "other"}),
]


def _ask(app: Celery, command: str, **arguments: Any) -> Any:
    """Returns the node's reply. A node that has just started may miss a command, so it is sent until a reply comes."""

    def reply() -> Any:
        replies = app.control.broadcast(command, arguments=arguments, reply=True, timeout=3, limit=1)
        return [found for each in replies for found in each.values()]

    return wait_until(reply, seconds=30, what=f"a reply to {command}")[0]


def test_a_node_refuses_what_would_stop_it_or_make_it_deaf(system: System) -> None:
    system.start(concurrency=2)
    (node,) = system.workers
    app = make_app(load(system.environ), consumes=True)
    for command, arguments in COMMANDS:
        assert f"refuses {command}" in _ask(app, command, **arguments)["error"]
    for _ in range(2):
        job = system.trigger("wkr_sleep", input={"seconds": 0.1})
        assert system.wait_for(job["id"])["status"] == "completed"
    assert node.exit_code is None
    assert _ask(app, "ping") == {"ok": "pong"}
    assert _ask(app, "stats")["pool"]["max-concurrency"] == 2
    assert [queue["name"] for queue in _ask(app, "active_queues")] == ["default"]
    assert "Remote control: the command shutdown is refused." in node.output
    assert "Control command error" not in node.output
    app.pool.force_close_all()
