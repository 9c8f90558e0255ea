"""Children that a handler triggers: with typed inputs and outputs, in numbers, and by earlier names."""

from __future__ import annotations

import contextvars
import functools
import itertools
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import ava
from ava import Env, worker
from ava.domain.jobs.waits import NewChild
from ava.handler.acts import run as act
from ava.handler.env import current_env
from ava.handler.journal_calls import Calls
from ava.testing.journal import Journal
from tests.unit.task_handlers import Order, Parcel, Part, Receipt, pack, task_bill, task_total

pytestmark = pytest.mark.usefixtures("restored_registry")

_numbers = itertools.count()


def _run(function: Any, input: Any = None, **given: Any) -> Any:
    return worker(f"task_parent_{next(_numbers)}")(function).run(input or {}, **given)


def test_within_a_handler_a_trigger_is_a_child_and_its_wait_returns_the_annotated_type() -> None:
    def parent(input: dict[str, Any], env: Env) -> Any:
        one = pack.trigger(Order(1, due=datetime(2026, 3, 4, tzinfo=UTC), parts=[Part("x")]), priority=9)
        parcel = one.wait()
        assert isinstance(parcel, Parcel)
        return [one, parcel.order, parcel.sent.year]

    found = _run(parent, children={"task_pack": {"order": 8, "sent": "2026-01-02T00:00:00Z"}})
    (child,) = found.children
    assert (child.name, child.worker_id) == ("wkr_task_pack", "wkr_task_pack")
    assert child.input == {"order": 1, "due": "2026-03-04T00:00:00Z", "parts": [{"name": "x"}]}
    assert (found.error, found.waits) == (None, ["1 job"])
    assert found.output[1:] == [8, 2026]
    assert found.output[0]["worker_id"] == "wkr_task_pack"


def test_many_triggers_have_numbered_names_and_a_name_is_used_once() -> None:
    def parent(input: dict[str, Any], env: Env) -> Any:
        handles = pack.trigger_many((Order(n) for n in range(120)), key="each")
        orders = [parcel["order"] for parcel in env.wait(*handles)]
        with pytest.raises(ava.DuplicateName, match=r"'each\.0'.*key="):
            pack.trigger_many([Order(1)], key="each")
        return orders

    found = _run(parent, children={"task_pack": lambda input: {**input, "sent": "2026-01-02T00:00:00Z"}})
    assert (found.error, found.output) == (None, list(range(120)))
    assert [child.name for child in found.children] == [f"each.{n}" for n in range(120)]
    twice = _run(lambda input, env: (pack.trigger(Order(1)), pack.trigger(Order(2))))
    assert twice.error.startswith("DuplicateName: ")
    assert "key=" in twice.error


def test_a_handler_that_is_async_awaits_its_triggers() -> None:
    async def parent(input: dict[str, Any], env: Env) -> Any:
        first = await task_bill.atrigger(Order(1), key="first")
        second = await task_bill.trigger(Order(2), key="second")
        many = await task_total.atrigger_many([{"n": 1}, {"n": 2}])
        receipts = [await first.wait(), await second.wait(timeout=60, key="slow")]
        assert [type(each) for each in receipts] == [Receipt, Receipt]
        totals = await env.wait(*many)
        return [each.order for each in receipts] + [each["cents"] for each in totals]

    bills = {"task_bill": lambda input: {"order": input["order"], "lines": []}, "task_total": {"cents": 7}}
    found = _run(parent, children=bills)
    assert (found.error, found.output) == (None, [1, 2, 7, 7])
    names = ["first", "second", "wkr_task_total.0", "wkr_task_total.1"]
    assert [child.name for child in found.children] == names


def test_a_trigger_that_is_not_awaited_is_named() -> None:
    async def forgotten(input: dict[str, Any], env: Env) -> None:
        task_bill.trigger(Order(1))

    async def used(input: dict[str, Any], env: Env) -> Any:
        return task_bill.trigger(Order(1)).wait()

    assert "CallNotAwaited: env.trigger('wkr_task_bill') was not awaited" in _run(forgotten).error
    assert "AttributeError: there is no 'wait' yet: await the trigger" in _run(used).error


def test_a_child_that_failed_raises_and_another_output_than_annotated_is_named() -> None:
    def parent(input: dict[str, Any], env: Env) -> Any:
        return pack.trigger(Order(1)).wait()

    assert _run(parent, children={"task_pack": ValueError("torn")}).error.endswith("ValueError: torn")
    wrong = _run(parent, children={"task_pack": {"order": "one", "sent": "2026-01-02T00:00:00Z"}}).error
    assert wrong.startswith("ValueError: the output of wkr_task_pack does not match its annotation: Expected `int`")


@pytest.mark.parametrize("in_context", [True, False])
def test_a_thread_of_a_handler_creates_no_job(in_context: bool) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pack.trigger(Order(1))
        except BaseException as error:
            errors.append(error)

    def parent(input: dict[str, Any], env: Env) -> None:
        target = functools.partial(contextvars.copy_context().run, call) if in_context else call
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    assert _run(parent).children == []
    (error,) = errors
    assert isinstance(error, ava.WaitInTask)
    assert "Only the handler's own thread may trigger jobs" in str(error)
    assert current_env() is None


def test_options_of_a_job_without_a_parent_are_refused_for_a_child() -> None:
    error = _run(lambda input, env: pack.trigger(Order(1), tags={"a": "b"})).error
    assert error == "TypeError: tags: not for children; in a handler use key, was, priority and detached"


def test_run_is_refused_in_a_handler_with_the_form_that_creates_a_child() -> None:
    error = _run(lambda input, env: pack.run(Order(1))).error
    assert error == "TypeError: pack.run is for tests; write pack.trigger(input).wait()"


def test_env_takes_a_task_and_typed_inputs_instead_of_an_id_and_mappings() -> None:
    def parent(input: dict[str, Any], env: Env) -> Any:
        env.wait(env.trigger(pack, Order(1)))
        return len(env.map(pack, [Order(2), Order(3)], key="all"))

    found = _run(parent, children={"task_pack": 1})
    assert (found.error, found.output) == (None, 2)
    assert [(child.worker_id, child.input["order"]) for child in found.children] == [
        ("wkr_task_pack", 1),
        ("wkr_task_pack", 2),
        ("wkr_task_pack", 3),
    ]


# Typed outputs -------------------------------------------------------------------------------------------------------


def test_a_handler_returns_typed_values_and_run_takes_one() -> None:
    assert pack.run(Order(3)).output == {"order": 3, "sent": "2026-01-02T00:00:00Z"}
    assert task_bill.run(Order(1, parts=[Part("a")])).output == {"order": 1, "lines": ["a"]}
    assert _run(lambda input: {"parts": (Part("a"), Part("b"))}).output == {"parts": [{"name": "a"}, {"name": "b"}]}
    error = _run(lambda input: [Part("a"), datetime.now(UTC)]).error
    assert error == "OutputError: output[1] is of type datetime, which JSON cannot represent"


def test_many_children_are_found_by_an_earlier_name_and_created_once() -> None:
    journal = Journal({})
    options: dict[str, Any] = {"priority": 3, "detached": True}
    first = Calls(store=journal, job_id="job_a")
    made = act(first.trigger_many("add", [{"n": n} for n in range(2)], key="old", was=(), **options))
    deployed = Calls(store=journal, job_id="job_a", journal=journal.load())
    found = act(deployed.trigger_many("add", [{"n": n} for n in range(3)], key="new", was=["old"], **options))
    assert [child.id for child in found[:2]] == [child.id for child in made]
    assert [(child.name, child.is_detached) for child in journal.made.values()] == [
        ("old.0", True),
        ("old.1", True),
        ("new.2", True),
    ]
    with pytest.raises(TypeError, match="was= takes a list"):
        act(deployed.trigger_many("add", [], key="other", was="old", **options))


def test_a_map_keeps_the_order_of_its_items_if_an_earlier_child_is_created_again() -> None:
    journal = Journal({"add": lambda input: input["n"]})
    known = [NewChild(name=f"wkr_add[{n}]", worker_id="wkr_add", input_json=f'{{"n": {n}}}') for n in (1, 3)]
    journal.make_children(known)
    calls = Calls(store=journal, job_id="job_a", journal=journal.load())
    items = [{"n": n} for n in range(4)]
    with pytest.raises(ava.Suspended):
        act(calls.map("add", items, key=None, max_concurrency=None, return_exceptions=False))
    assert calls.wait is not None
    journal.end_wait(calls.wait)
    later = Calls(store=journal, job_id="job_a", journal=journal.load())
    outputs = act(later.map("add", items, key=None, max_concurrency=None, return_exceptions=False))
    assert list(outputs) == [0, 1, 2, 3]
