"""A run journals each decision before the handler sees it, so later runs of the attempt get the same answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import ava
from ava import testing
from ava.domain.jobs.waits import ChildState, EntryState, JournalKind, NewChild, NewEntry
from ava.handler.acts import run as act
from ava.handler.children import ChildJob
from ava.handler.env import Env
from ava.handler.journal_calls import Calls
from ava.testing.journal import Journal

Input = dict[str, Any]
#: Waits for a child, or for an event.
Waits = Callable[[Calls, ChildJob], Any]


pytestmark = pytest.mark.usefixtures("restored_registry")


class _Refusing(Journal):
    """A journal that refuses children of an unknown worker."""

    def make_children(self, new: Sequence[NewChild]) -> Sequence[ChildState]:
        if any(child.worker_id == "wkr_unknown" for child in new):
            raise ava.ChildRefused("there is no worker wkr_unknown")
        return super().make_children(new)


def _enter(journal: Journal) -> Calls:
    """Return the calls of a run that enters the handler now."""
    return Calls(store=journal, job_id="job_a", journal=journal.load(), now=journal.now)


def _trigger(calls: Calls, worker_id: str, key: str | None = None) -> ChildJob:
    return act(calls.trigger(worker_id, None, key=key, was=(), priority=None, detached=False))


def _wait(calls: Calls, child: ChildJob) -> Any:
    return act(calls.wait_for_all([child], timeout=60, key=None, return_exceptions=False))


def _wait_any(calls: Calls, child: ChildJob) -> Any:
    return act(calls.wait_for_any([child], timeout=60, key=None))


def _wait_event(calls: Calls, _: ChildJob) -> Any:
    return act(calls.wait_for_event("order.paid", None, timeout=60, key=None))


def _is_refused(calls: Calls) -> None:
    with pytest.raises(ava.ChildRefused):
        _trigger(calls, "wkr_unknown")


def _nothing(calls: Calls) -> None:
    """Let the process die at once."""


@pytest.mark.parametrize("after", [_nothing, _is_refused])
@pytest.mark.parametrize("wait", [_wait, _wait_any, _wait_event])
def test_a_wait_that_has_timed_out_times_out_in_each_later_run(wait: Waits, after: Callable[[Calls], None]) -> None:
    journal = _Refusing({"pack": "packed"}, events=[{"type": "order.paid"}])
    first = _enter(journal)
    with pytest.raises(ava.Suspended):
        wait(first, _trigger(first, "wkr_pack"))
    assert first.wait is not None
    journal.write(first.wait.entries)
    journal.pause(61)
    second = _enter(journal)
    with pytest.raises(ava.WaitTimeout):
        wait(second, _trigger(second, "wkr_pack"))
    after(second)
    # The child ends and the event arrives.
    for child_id in journal.made:
        journal._end(child_id)
    journal._come.update(event["id"] for event in journal._events)
    third = _enter(journal)
    with pytest.raises(ava.WaitTimeout):
        wait(third, _trigger(third, "wkr_pack"))


def test_the_first_child_stays_the_first_although_another_one_has_an_earlier_number() -> None:
    """Ends get their numbers before they are committed, so a later commit may have an earlier number."""
    journal = Journal({"a": 1, "b": 2})
    first = _enter(journal)
    children = [_trigger(first, "wkr_a"), _trigger(first, "wkr_b")]
    journal._end_no = 5
    journal._end(children[1].id)
    for end_no in (None, 2):
        if end_no is not None:
            journal._end_no = end_no
            journal._end(children[0].id)
        run = _enter(journal)
        children = [_trigger(run, "wkr_a"), _trigger(run, "wkr_b")]
        assert act(run.wait_for_any(children, timeout=None, key=None)).worker_id == "wkr_b"


def test_a_wait_that_ended_in_time_is_done_in_the_journal() -> None:
    journal = Journal({"pack": "packed"})
    first = _enter(journal)
    with pytest.raises(ava.Suspended):
        _wait(first, _trigger(first, "wkr_pack"))
    assert first.wait is not None
    journal.end_wait(first.wait)
    for _ in range(2):
        run = _enter(journal)
        assert _wait(run, _trigger(run, "wkr_pack")) == ["packed"]
    (entry,) = [each for each in journal.load().entries if each.kind is JournalKind.WAIT]
    assert entry.state is EntryState.DONE


# Branches of `gather` ------------------------------------------------------------------------------------------------


def _run(function: Any, **given: Any) -> testing.Result:
    ava.worker("decisions_test", max_retries=0)(function)
    return testing.run(function, **given)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_branch_that_was_left_goes_no_further_in_a_later_run(depth: int) -> None:
    """The handler refunds because the payment failed, so the branch that packs must not ship."""

    async def handler(input: Input, env: Env) -> list[Any]:
        seen: dict[str, Any] = {}

        async def pay() -> None:
            await env.sleep(2, key="bill")
            await env.wait(await env.trigger("payment"))

        async def pack() -> None:
            await env.sleep(2, key="prepare")
            seen["pack"] = await env.trigger("pack")
            seen["outputs"] = await env.wait(seen["pack"])
            await env.step("ship", lambda: "shipped")

        async def nested(left: int) -> None:
            await (env.gather(nested(left - 1), env.step(f"note {left}", lambda: left)) if left else pack())

        try:
            await env.gather(pay(), nested(depth))
        except ava.ChildFailed:
            await env.step("refund", lambda: "refunded")
        found = await env.wait(seen["pack"])
        await env.sleep(60)
        return [*found, "outputs" in seen]

    result = _run(handler, children={"payment": ValueError("no cover"), "pack": "packed"})
    assert (result.error, result.output) == (None, ["packed", False])
    assert result.steps == {"refund": "refunded"} | {f"note {left}": left for left in range(1, depth + 1)}


def test_a_branch_goes_on_if_the_error_that_left_it_does_not_come_again() -> None:
    """The journal has no error of a step, so a later run may not meet it again."""
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return "fine"

    async def handler(input: Input, env: Env) -> Any:
        async def slow() -> str:
            await env.sleep(60, key="nap")
            return "slept"

        try:
            return await env.gather(env.step("flaky", flaky), slow())
        except ValueError:
            await env.sleep(5, key="pause")

    result = _run(handler)
    assert (result.error, result.output, result.waits) == (None, ["fine", "slept"], ["5 s", "0 s", "60 s"])


def test_a_gather_in_which_no_branch_fails_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(input: Input, env: Env) -> Any:
        return await env.gather(env.sleep(60, key="a"), env.sleep(5, key="b"))

    written: list[str] = []
    write = Journal.write

    def spy(journal: Journal, entries: Sequence[NewEntry]) -> None:
        written.extend(entry.name for entry in entries)
        write(journal, entries)

    monkeypatch.setattr(Journal, "write", spy)
    assert _run(handler).output == [None, None]
    assert written == ["a", "b"]
