"""The triggers of Celery's calls: options, canvases and the outbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import ava_celery
import pytest
from ava_celery import canvas
from ava_celery.entries import call_of
from celery import Celery, chain, chord, group
from celery.canvas import Signature, _chain


@pytest.fixture
def app() -> Celery:
    app = Celery("of_a_test", broker="memory://", set_as_current=False)

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return app


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"priority": 0}, {"priority": 10}),
        ({"priority": 9}, {"priority": 1}),
        ({"expires": 90.5}, {"expires_in_seconds": 91}),
        ({"expires": -5}, {"expires_in_seconds": 1}),
        ({"countdown": 60, "expires": 90}, {"expires_in_seconds": 30}),
        ({"eta": datetime(2020, 1, 1, tzinfo=UTC)}, {"scheduled_at": datetime(2020, 1, 1, tzinfo=UTC)}),
        ({"eta": "2020-01-01T00:00:00"}, {"scheduled_at": datetime(2020, 1, 1, tzinfo=UTC)}),
        ({"task_id": "a"}, {"tags": {"task_id": "a"}}),
        ({"headers": {"Customer": "c1", "a b": "no", "n": 1, "long": "x" * 65}}, {"tags": {"customer": "c1"}}),
    ],
)
def test_the_options_of_a_call_are_those_of_a_trigger(
    app: Celery, given: dict[str, Any], options: dict[str, Any]
) -> None:
    found = call_of(app, "add", (1,), {"y": 2}, given)
    assert (found.worker_id, found.input["args"], found.input["kwargs"]) == ("wkr_add", [1], {"y": 2})
    if "countdown" in given:
        at = found.options.pop("scheduled_at")
        assert timedelta(seconds=55) < at - datetime.now(UTC) <= timedelta(seconds=60)
    assert found.options == options


def test_the_first_priority_of_redis_is_0(app: Celery) -> None:
    app.conf.broker_url = "redis://localhost"
    assert [call_of(app, "add", (), {}, {"priority": each}).options["priority"] for each in (0, 9)] == [1, 10]


def test_a_task_id_that_no_tag_can_hold_is_refused(app: Celery) -> None:
    with pytest.raises(ValueError, match="task_id has 65 characters; at most 64"):
        call_of(app, "add", (), {}, {"task_id": "x" * 65})


def test_a_canvas_has_an_edge_for_each_dependency(app: Celery) -> None:
    add = app.tasks["add"]
    given = chain(add.s(1, 2), group(add.s(3), chain(add.s(4), add.si(5, 6))), chord([add.s(1)], add.s()), app=app)
    graph = canvas.Graph(app, lambda _: True)
    graph.add(given, (), {}, {"countdown": 5, "priority": 5})
    found = [
        (call.options["name"], call.options.get("after", []), call.input["args"], "scheduled_at" in call.options)
        for call in graph.calls
    ]
    (pair,) = [[{"$output": "t1"}, {"$output": "t3"}]]
    assert found == [
        ("t0", [], [1, 2], True),
        ("t1", ["t0"], [{"$output": "t0"}, 3], False),
        ("t2", ["t0"], [{"$output": "t0"}, 4], False),
        ("t3", ["t2"], [5, 6], False),
        ("t4", ["t1", "t3"], [pair, 1], False),
        ("t5", ["t4"], [[{"$output": "t4"}]], False),
    ]
    assert all(call.options["priority"] == 5 for call in graph.calls)


def test_empty_steps_of_a_canvas_are_skipped_and_pass_arguments_on(app: Celery) -> None:
    add = app.tasks["add"]
    given = _chain(_chain(), _chain(group(), add.s(1)), group(chain(), add.s(2), add.s(3)), app=app)
    graph = canvas.Graph(app, lambda _: True)
    graph.add(given, (5,), {}, {})
    assert [call.input["args"] for call in graph.calls] == [[5, 1], [{"$output": "t0"}, 2], [{"$output": "t0"}, 3]]


def test_in_a_transaction_calls_go_to_the_outbox_and_a_graph_is_refused_there(app: Celery) -> None:
    rows: list[tuple[Any, ...]] = []

    def trigger(worker_id: str, input: dict[str, Any], **options: Any) -> str:
        rows.append((worker_id, input["args"], options))
        return f"{len(rows):032x}"

    ava_celery.install(app, outbox=lambda: trigger)
    add = app.tasks["add"]
    assert add.apply_async((1, 2), priority=9).id == f"outbox_{1:032x}"
    result = group(Signature("add", args=(i, i), app=app) for i in range(2)).apply_async()
    assert [each.id for each in result.results] == [f"outbox_{2:032x}", f"outbox_{3:032x}"]
    assert rows[0] == ("wkr_add", [1, 2], {"priority": 1})
    with pytest.raises(ValueError, match="the outbox sends single tasks"):
        chain(add.s(1, 2), add.s(3), app=app).apply_async()
    assert len(rows) == 3
