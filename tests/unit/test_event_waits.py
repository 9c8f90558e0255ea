"""`env.wait_event`: the first event that matches, each once, and the wait that is written before the look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ava
from ava import testing
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.waits import EntryState, JournalKind, Wait, WaitCondition
from ava.errors import HandlerError
from ava.handler.acts import run as act
from ava.handler.env import Env
from ava.handler.journal_calls import Calls
from ava.testing.journal import Journal

Input = dict[str, Any]


pytestmark = pytest.mark.usefixtures("restored_registry")


def _run(function: Any, **given: Any) -> testing.Result:
    ava.worker("events_test", max_retries=0)(function)
    return testing.run(function, **given)


def _paid(order: str, **more: Any) -> dict[str, Any]:
    return {"type": "order.paid", "data": {"order": order}, **more}


def test_a_handler_gets_the_first_event_that_matches_and_the_same_one_after_each_wait() -> None:
    def handler(input: Input, env: Env) -> Any:
        event = env.wait_event("order.paid", {"data": {"order": ["b"]}})
        env.sleep(60)
        return [event["data"], event["source"], event["source_id"], event["headers"]]

    result = _run(handler, events=[_paid("a"), {"type": "order.sent"}, _paid("b", source_id="7"), _paid("b")])
    assert (result.output, result.error) == ([{"order": "b"}, "/", "7", None], None)
    assert result.waits == ["an event", "60 s"]


def test_an_event_is_returned_once_and_each_wait_of_a_loop_has_its_own_key() -> None:
    def handler(input: Input, env: Env) -> Any:
        return [env.wait_event("order.paid", key=f"payment {n}")["data"]["order"] for n in range(3)]

    assert _run(handler, events=[_paid("a"), _paid("b"), _paid("c")]).output == ["a", "b", "c"]


@pytest.mark.parametrize("string", ["a\0b", "\ud800", "\\\0"])
def test_a_pattern_that_no_event_can_match_is_refused_in_a_sentence(string: str) -> None:
    for match in ({"data": {"order": [string]}}, {"data": {string: ["a"]}}):
        with pytest.raises(ValueError, match="match: it must not contain NUL or half of a surrogate pair"):
            AwaitedEvent.of("order.paid", match)
    held = {"data": {"order": ["\\u0000", "\U0001f600", "\n"]}}
    assert AwaitedEvent.of("order.paid", held).match == held


def test_a_type_with_a_star_at_its_end_is_refused_because_a_wait_is_for_one_type() -> None:
    with pytest.raises(ValueError, match="a wait needs one exact event type"):
        AwaitedEvent.of("order.*", None)


def test_the_same_name_twice_is_refused() -> None:
    def handler(input: Input, env: Env) -> Any:
        return [env.wait_event("order.paid"), env.wait_event("order.paid")]

    assert (_run(handler, events=[_paid("a"), _paid("b")]).error or "").startswith("DuplicateName: ")


def test_a_wait_that_timed_out_raises_and_the_event_is_left_for_the_next_one() -> None:
    def handler(input: Input, env: Env) -> Any:
        try:
            env.wait_event("order.paid", timeout=3600)
        except ava.WaitTimeout as error:
            env.sleep(60)
            return [str(error), env.wait_event("order.sent")["type"]]

    result = _run(handler, events=[{"type": "order.sent"}])
    assert result.output == ["The event 'order.paid' did not arrive within 3600 s.", "order.sent"]
    assert result.waits[0] == "an event, at most 3600 s"


def test_a_test_says_which_event_is_missing() -> None:
    with pytest.raises(HandlerError, match=r"No event arrives for 'order.paid': give run\(\) events="):
        _run(lambda input, env: env.wait_event("order.paid"), events=[{"type": "order.sent"}])


@pytest.mark.parametrize("events", [[{"data": 1}], [{"type": "a", "colour": "red"}], ["order.paid"]])
def test_a_test_gives_events_as_they_are_sent(events: list[Any]) -> None:
    with pytest.raises(ValueError, match="an event "):
        _run(lambda input, env: None, events=events)


@pytest.mark.parametrize(
    ("type_", "match"),
    [
        ("", None),
        (None, None),
        ("ava.job.completed", None),
        ("two words", None),
        ("a\x00", None),
        ("é", None),
        ("a" * 201, None),
        ("a", ["b"]),
        ("a", {"data": "b"}),
        ("a", {"data": {"b": [{"regex": ".*"}]}}),
        ("a", {"data": {"b": [object()]}}),
        ("a", {"data": {"b": [float("nan")]}}),
        ("a", {"data": {"b": ["x" * 20_000]}}),
    ],
)
def test_a_wrong_type_or_pattern_is_refused_and_nothing_is_written(type_: Any, match: Any) -> None:
    journal = Journal({})
    calls = Calls(store=journal, job_id="job_a", journal=journal.load())
    with pytest.raises(ValueError, match=r"type|match"):
        act(calls.wait_for_event(type_, match, timeout=None, key=None))
    assert journal.load().entries == []


def test_the_wait_is_written_before_the_search_so_that_no_event_is_lost() -> None:
    journal = Journal({}, [_paid("a")])
    seen: list[list[EntryState]] = []
    find = journal.find_event

    def spy(*args: Any, **given: Any) -> Any:
        seen.append([entry.state for entry in journal.load().entries])
        return find(*args, **given)

    journal.find_event = spy  # type: ignore[method-assign]
    calls = Calls(store=journal, job_id="job_a", journal=journal.load())
    with pytest.raises(ava.Suspended):
        act(calls.wait_for_event("order.paid", None, timeout=None, key=None))
    assert seen == [[EntryState.WAITS]]
    wait = calls.wait
    assert wait is not None
    assert (wait.condition, wait.event, wait.event_names) == (
        WaitCondition.EVENT,
        {"type": "order.paid", "match": None},
        ("order.paid",),
    )


def test_a_wait_that_was_written_is_not_written_again() -> None:
    journal = Journal({})
    for _ in range(2):
        calls = Calls(store=journal, job_id="job_a", journal=journal.load())
        before = [entry.n for entry in journal.load().entries]
        with pytest.raises(ava.Suspended):
            act(calls.wait_for_event("order.paid", None, timeout=None, key=None))
    assert [entry.n for entry in journal.load().entries] == before


@pytest.mark.parametrize("dies", ["before the look", "after it"])
def test_a_run_that_dies_around_the_search_leaves_the_event_to_the_next_one(dies: str) -> None:
    journal = Journal({}, [_paid("a")])
    calls = Calls(store=journal, job_id="job_a", journal=journal.load())
    steps = calls.wait_for_event("order.paid", None, timeout=None, key=None)
    next(steps).do()
    journal._come = {event["id"] for event in journal._events}
    if dies == "after it":
        steps.send(steps.send(None).do())
    again = Calls(store=journal, job_id="job_a", journal=journal.load())
    event = act(again.wait_for_event("order.paid", None, timeout=None, key=None))
    assert event["data"] == {"order": "a"}


def test_a_deploy_that_asks_for_something_else_writes_the_wait_anew() -> None:
    journal = Journal({})
    for match in ({"data": {"n": [1]}}, {"data": {"n": [2]}}):
        calls = Calls(store=journal, job_id="job_a", journal=journal.load())
        with pytest.raises(ava.Suspended):
            act(calls.wait_for_event("order.paid", match, timeout=None, key=None))
    (entry,) = journal.load().entries
    assert (entry.kind, entry.value_json) == (JournalKind.EVENT, AwaitedEvent("order.paid", {"data": {"n": [2]}}).json)


def test_branches_wait_for_events_at_once_and_share_none() -> None:
    async def handler(input: Input, env: Env) -> Any:
        async def branch(key: str) -> Any:
            event = await env.wait_event("order.paid", key=key)
            return event["data"]["order"]

        async def other() -> Any:
            (output,) = await env.wait(await env.trigger("add"))
            return output

        return await env.gather(branch("one"), branch("two"), other())

    result = _run(handler, events=[_paid("a"), _paid("b")], children={"add": 5})
    assert (result.error, result.output) == (None, ["a", "b", 5])


def test_the_description_of_a_wait_counts_the_events() -> None:
    wait = Wait(condition=WaitCondition.ANY, job_ids=["job_a"], event_names=("a", "b"), timeout_seconds=5)
    assert wait.description == "1 job, one of 2 events, at most 5 s"


def test_two_branches_that_find_the_same_event_at_once_get_different_ones() -> None:
    async def handler(input: Input, env: Env) -> Any:
        first = await env.wait_event("start")
        results = await env.gather(*(env.wait_event("order.paid", key=f"{n}") for n in range(2)))
        return [first["type"], *(event["data"]["order"] for event in results)]

    # Both have come before the branches look: each look is in a thread, and both find the first one.
    result = _run(handler, events=[_paid("a"), _paid("b"), {"type": "start"}])
    assert result.output == ["start", "a", "b"]
    assert result.runs == 2
    assert asyncio.iscoroutinefunction(handler)
