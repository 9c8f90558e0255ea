"""What async handlers call of their journal: branches that wait together, and calls that were not awaited."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import ava
from ava import testing
from ava.handler.env import Env
from ava.testing.journal import Journal

Input = dict[str, Any]


pytestmark = pytest.mark.usefixtures("restored_registry")


def _run(function: Any, **given: Any) -> testing.Result:
    ava.worker("journal_test", max_retries=0)(function)
    return testing.run(function, **given)


def test_branches_of_an_async_handler_wait_together() -> None:
    async def branch(env: Env, name: str, seconds: float) -> str:
        child = await env.trigger("part", {"name": name}, key=name)
        await env.sleep(seconds, key=f"pause of {name}")
        (output,) = await env.wait(child)
        return output

    async def handler(input: Input, env: Env) -> list[str]:
        return await env.gather(branch(env, "a", 60), branch(env, "b", 5))

    result = _run(handler, children={"part": lambda input: input["name"].upper()})
    assert (result.status, result.output) == ("completed", ["A", "B"])


def test_a_job_that_may_not_wait_fails_and_its_branches_are_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(input: Input, env: Env) -> None:
        await env.gather(env.sleep(60, key="a"), env.sleep(5, key="b"))

    asked: list[int] = []

    def admit(_: Journal) -> None:
        asked.append(1)
        raise ava.TooManyWaiting("2 of 2 (limit waiting_jobs)")

    monkeypatch.setattr(Journal, "admit_wait", admit)
    result = _run(handler)
    assert (result.status, result.error, len(asked)) == ("failed", "TooManyWaiting: 2 of 2 (limit waiting_jobs)", 1)


def test_a_wait_beside_other_tasks_names_gather() -> None:
    async def handler(input: Input, env: Env) -> None:
        other = asyncio.ensure_future(asyncio.sleep(30))
        try:
            await env.sleep(60)
        finally:
            other.cancel()

    error = _run(handler).error
    assert error is not None
    assert error.startswith("WaitInTask: ")
    assert "env.gather" in error


def test_an_async_step_is_awaited_while_other_branches_go_on() -> None:
    order: list[str] = []

    async def slow() -> str:
        order.append("begun")
        await asyncio.sleep(0.01)
        order.append("ended")
        return "slow"

    async def handler(input: Input, env: Env) -> list[str]:
        async def quick() -> str:
            order.append("quick")
            return "quick"

        return await env.gather(env.step("slow", slow), quick())

    assert _run(handler).output == ["slow", "quick"]
    assert order == ["begun", "quick", "ended"]


def test_a_branch_that_swallows_its_suspension_fails_the_attempt() -> None:
    async def branch(env: Env) -> str:
        try:
            await env.sleep(60)
        except BaseException:
            return "went on"
        return "slept"

    async def handler(input: Input, env: Env) -> Any:
        return await env.gather(branch(env))

    error = _run(handler).error
    assert error is not None
    assert error.startswith("SuspensionSwallowed: ")


def test_the_errors_of_all_branches_are_retrieved(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio logs an error that nobody has retrieved when its task is freed."""

    async def fail(message: str) -> None:
        raise ValueError(message)

    async def handler(input: Input, env: Env) -> None:
        await env.gather(fail("first"), fail("second"), env.sleep(60, key="waits"))

    assert _run(handler).error == "ValueError: first"
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


#: Each call of an async handler, and the name in the sentence about a forgotten `await`.
_UNAWAITED = {
    "env.trigger('add')": lambda env: env.trigger("add", {"n": 1}),
    "env.map('add')": lambda env: env.map("add", [{}]),
    "env.step('pay')": lambda env: env.step("pay", lambda: 1),
    "env.sleep(60)": lambda env: env.sleep(60),
    "env.wait(…)": lambda env: env.wait(),
    "env.wait_any(…)": lambda env: env.wait_any(),
    "env.wait_event('paid')": lambda env: env.wait_event("paid"),
    "env.gather(…)": lambda env: env.gather(),
}


@pytest.mark.parametrize("call", _UNAWAITED)
def test_a_forgotten_await_fails_the_run_with_the_name_of_the_call(call: str) -> None:
    async def handler(input: Input, env: Env) -> str:
        _UNAWAITED[call](env)
        return "done"

    result = _run(handler)
    name = call.partition("(")[0]
    assert result.error == f"CallNotAwaited: {call} was not awaited, so it did nothing: write `await {name}(…)`"
    assert (result.status, result.children, result.steps) == ("failed", [], {})


def test_a_forgotten_await_is_in_the_traceback_of_the_error_that_it_causes() -> None:
    async def handler(input: Input, env: Env) -> int:
        return sum(env.map("add", [{}]))  # type: ignore[no-any-return]

    result = _run(handler)
    assert result.error == "TypeError: 'coroutine' object is not iterable"
    assert "env.map('add') was not awaited" in result.messages[-1]


def test_a_call_that_is_awaited_later_or_by_a_branch_is_no_forgotten_one() -> None:
    async def handler(input: Input, env: Env) -> list[Any]:
        later = env.step("later", lambda: "later")
        slept = asyncio.create_task(env.sleep(0.01))
        first = await env.gather(env.step("a", lambda: "a"), env.step("b", lambda: "b"))
        await slept
        return [*first, await later]

    assert _run(handler).output == ["a", "b", "later"]


def test_gather_is_for_async_handlers() -> None:
    error = _run(lambda input, env: env.gather()).error
    assert error is not None
    assert error.startswith("TypeError: env.gather awaits the branches of an `async def` handler")
