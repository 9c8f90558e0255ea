"""Outputs that contain children and the outputs of children, and outputs that are refused."""

from __future__ import annotations

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


def test_a_handler_returns_a_child_and_what_its_waits_returned() -> None:
    def handler(input: Input, env: Env) -> dict[str, Any]:
        children = [env.trigger("square", {"n": n}, key=str(n)) for n in (2, 3)]
        squares = env.wait(*children)
        stored = env.step("kept", lambda: {"squares": squares})
        more = env.trigger("square", {"n": sum(squares), "squares": squares}, key="more")
        failed = env.wait(env.trigger("bad"), return_exceptions=True, key="failed")
        many = env.map("square", ({"n": n} for n in range(250)))
        return {"kept": stored, "child": children[0], "one": (1, [env.wait(more)]), "failed": failed, "many": many}

    result = _run(handler, children={"square": lambda input: input["n"] ** 2, "bad": ValueError("no")})
    assert result.status == "completed", result.error
    shown = [result.output.pop("child"), result.output["failed"].pop()]
    assert all(child.pop("id").startswith("job_") for child in shown)
    assert shown == [
        {"worker_id": "wkr_square", "status": "completed", "error": None},
        {"worker_id": "wkr_bad", "status": "failed", "error": "ValueError: no"},
    ]
    # One child has one output, in a sequence as ever.
    many = [n**2 for n in range(250)]
    assert result.output == {"kept": {"squares": [4, 9]}, "one": [1, [[169]]], "failed": [], "many": many}
    assert [each.input for each in result.children if each.name == "more"] == [{"n": 13, "squares": [4, 9]}]


def test_outputs_that_are_too_large_to_return_are_refused_before_all_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    outputs = Journal.outputs
    monkeypatch.setattr(Journal, "outputs", lambda journal, ids: read.extend(ids) or outputs(journal, ids))

    async def handler(input: Input, env: Env) -> Any:
        return await env.map("large", [{}] * 300)

    error = _run(handler, children={"large": "x" * 100_000}).error
    assert error == "OutputError: the outputs of 300 children are more than 1048576 bytes"
    assert len(read) == 100


@pytest.mark.parametrize("nested", [[], [[]] * 500])
def test_an_output_that_contains_itself_or_is_nested_too_deep_is_refused(nested: list[Any]) -> None:
    def handler(input: Input, env: Env) -> Any:
        env.step("a", lambda: 1)
        output = nested
        for _ in range(5_000 if nested else 0):
            output = [output]
        nested.append(nested)
        return output

    assert _run(handler).error == "OutputError: the output is nested too deep, or contains itself"
