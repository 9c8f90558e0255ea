"""One message in a node's parent: when it is acknowledged, and what a death leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.exceptions import Ignore
from celery.worker import state

from ava.domain.jobs.messages import TASK, Message
from ava.node import process_tree
from ava.node.celery_internals.consumer import JobConsumer
from ava.node.celery_internals.job_request import JobRequest
from ava.node.outcome import Retirement

JOB = "job_01h455vb4pex5vsknk084sn02q"
OTHER_JOB = "job_01h455vb4pex5vsknk084sn02r"
RUN = ("ten_a", JOB, 1)
PID = 4711


class RunMonitor:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.given: set[Any] = set()

    def give(self, given: Any) -> None:
        self.given.add(given)
        self.calls.append(("give", given.pid, *given.runs))

    def take_back(self, given: Any) -> bool:
        was_given = given in self.given
        self.given.discard(given)
        self.calls.append(("take back", *given.runs))
        return was_given

    def rescue(self, given: Any, error: str) -> None:
        self.calls.append(("rescue", given.pid, error, *given.runs))

    def check_now(self) -> None:
        self.calls.append("check_now")

    def abandon(self) -> None:
        self.calls.append("abandon")


class Node:
    """The parent of a node with no broker: it makes requests and notes in which order things happen."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.monitor = RunMonitor()
        self.calls = self.monitor.calls
        JobRequest.run_monitor = self.monitor  # type: ignore[assignment]
        JobRequest.pool_pids = staticmethod(lambda: [PID + 1])

    def receive(self, run_no: int = 1, *more: Any) -> JobRequest:
        """Receive a message, which may stand for more runs."""
        name = f"{JOB}.{run_no}"
        arguments = ["ten_a", JOB, run_no, "wkr_unknown", *([more] if more else [])]
        body = json.dumps([arguments, {}, {}])
        message = SimpleNamespace(
            headers={"id": name, "task": TASK},
            body=body,
            payload=json.loads(body),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={},
            properties={},
            job_message=Message.of(arguments),
        )
        request = JobRequest(
            message,
            app=self.app,
            on_ack=lambda *_: self.calls.append(("acknowledge", name)),
            task=self.app.tasks[TASK],
            eventer=SimpleNamespace(enabled=True, send=lambda kind, **_: self.calls.append((kind, name))),
        )
        state.task_reserved(request)
        return request


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node on RabbitMQ; nothing of it is left to other tests."""
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(task_acks_late=True, task_ignore_result=True, worker_send_task_events=True)

    @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def run_job(*_message: Any) -> None: ...

    for name in ("run_monitor", "pool_pids"):
        monkeypatch.setattr(JobRequest, name, None, raising=False)
    monkeypatch.setattr(process_tree, "kill_children", lambda keep: None)
    yield Node(app)
    state.reset_state()
    app.close()


@pytest.fixture
def node_on_redis(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(JobRequest, "is_acknowledged_on_arrival", True)
    return node


def test_a_message_is_given_from_its_acceptance_to_its_end_and_then_acknowledged(node: Node) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    assert node.calls == [("give", PID, RUN), ("task-started", request.id)]
    request.on_success((False, "completed", 0.1))
    # The run monitor must not kill a child for a run that is over: it learns of the end first.
    assert node.calls[2:4] == [("take back", RUN), ("acknowledge", request.id)]
    assert request not in state.reserved_requests
    assert not node.monitor.given


def test_a_request_is_acknowledged_early_but_stays_given_when_its_child_is_soon_free(node: Node) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    request.fetch_next()
    assert node.calls[2:] == [("acknowledge", request.id)]
    assert request not in state.reserved_requests
    assert node.monitor.given == {request.given}
    request.on_success((False, "completed", 0.1))
    assert node.calls.count(("acknowledge", request.id)) == 1
    assert not node.monitor.given


def test_a_message_that_redis_has_forgotten_is_not_acknowledged(node_on_redis: Node) -> None:
    request = node_on_redis.receive()
    request.on_accepted(PID, 0.0)
    request.on_success((False, "completed", 0.1))
    assert request.acknowledged
    assert ("acknowledge", request.id) not in node_on_redis.calls


@pytest.mark.parametrize(
    ("description", "cause"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", "signal 9"),
        ("Worker exited prematurely: exitcode 70 Job: 3.", "exitcode 70"),
        ("Worker exited prematurely: exitcode -1 Job: 3.", "exitcode -1"),
        ("something else", "unknown cause"),
    ],
)
def test_a_lost_process_has_its_run_rescued_and_its_message_acknowledged(
    node: Node, description: str, cause: str
) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    node.calls.clear()
    request.on_failure(_info(WorkerLostError(description)))
    assert node.calls == [
        ("take back", RUN),
        ("rescue", PID, f"WorkerLost: the worker process died ({cause})", RUN),
        ("take back", RUN),
        ("acknowledge", request.id),
        ("task-failed", request.id),
    ]


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (Retirement.COMPLETED, "task-succeeded"),
        (Retirement.FAILED, "task-failed"),
        (Retirement.STOPPED, "task-revoked"),
    ],
)
def test_a_process_that_retires_after_its_run_is_shown_as_the_run_ended(
    node: Node, code: Retirement, event: str
) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    node.calls.clear()
    request.on_failure(_info(WorkerLostError(f"Worker exited prematurely: exitcode {code:d} Job: 3.")))
    assert [call[0] for call in node.calls if call[0].startswith("task-")] == [event]


def test_a_run_that_had_ended_when_its_process_died_is_not_rescued(node: Node) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    request.on_success((False, "completed", 0.1))
    node.calls.clear()
    request.on_failure(_info(WorkerLostError("signal 9")))
    assert not [call for call in node.calls if call[0] == "rescue"]


def test_a_process_that_died_before_it_accepted_the_message_has_its_run_rescued(node: Node) -> None:
    request = node.receive()
    request.on_failure(_info(WorkerLostError("signal 9")))
    assert ("rescue", 0, "WorkerLost: the worker process died (signal 9)", RUN) in node.calls


def test_the_runs_of_a_group_are_given_and_rescued_together(node: Node) -> None:
    request = node.receive(1, ("ten_b", OTHER_JOB, 3))
    request.on_accepted(PID, 0.0)
    assert node.calls[0] == ("give", PID, RUN, ("ten_b", OTHER_JOB, 3))
    request.on_failure(_info(WorkerLostError("signal 9")))
    rescued = [call for call in node.calls if call[0] == "rescue"]
    assert rescued == [("rescue", PID, "WorkerLost: the worker process died (signal 9)", RUN, ("ten_b", OTHER_JOB, 3))]
    assert not node.monitor.given


def test_what_a_lost_process_has_left_is_killed_but_no_process_of_the_pool(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    excepted: list[Any] = []

    def kill_children(*, keep: frozenset[int]) -> None:
        excepted.append(keep)

    monkeypatch.setattr(process_tree, "kill_children", kill_children)
    node.receive().on_failure(_info(WorkerLostError("signal 9")))
    assert excepted == [frozenset({PID + 1})]


def test_a_cancelled_job_is_shown_as_revoked(node: Node) -> None:
    request = node.receive()
    request.on_accepted(PID, 0.0)
    request.on_failure(_info(Ignore()))
    assert ("task-revoked", request.id) in node.calls
    assert ("acknowledge", request.id) in node.calls


def test_no_message_is_dropped_because_of_a_revoke(node: Node) -> None:
    request = node.receive()
    state.revoked.add(request.id)
    try:
        assert request.revoked() is False
    finally:
        state.revoked.discard(request.id)


def test_a_revoke_has_the_database_asked_and_sends_no_signal(node: Node) -> None:
    request = node.receive()
    pool = SimpleNamespace(terminate_job=lambda *_: pytest.fail("a signal was sent"))
    request.on_accepted(PID, 0.0)
    request.terminate(pool, "SIGKILL")
    assert node.calls[-1] == "check_now"


def test_a_revoke_before_the_run_begins_has_the_database_asked_when_it_does(node: Node) -> None:
    request = node.receive()
    request.terminate(None, "SIGTERM")
    assert node.calls == []
    request.on_accepted(PID, 0.0)
    assert node.calls[-1] == "check_now"


def test_a_cold_shutdown_kills_everything_that_runs_also_what_is_acknowledged(node: Node) -> None:
    node.receive().acknowledged = True
    JobConsumer.cancel_active_requests(SimpleNamespace())  # type: ignore[arg-type]
    assert node.calls == ["abandon"]


def _info(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except BaseException:
        return ExceptionInfo()
