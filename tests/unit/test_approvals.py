"""`env.approve`: what a request must be, and what a handler gets for which decision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import ava
from ava import testing
from ava.domain.approval import ApprovalRequest
from ava.handler.env import Env

pytestmark = pytest.mark.usefixtures("restored_registry")


def _run(function: Any, **given: Any) -> testing.Result:
    ava.worker("approvals_test", max_retries=0)(function)
    return testing.run(function, **given)


def test_a_handler_gets_the_decision_and_the_same_one_after_each_wait() -> None:
    given = ava.Decision(approved=True, data={"size": 2}, comment="go", at=datetime(2026, 12, 1, tzinfo=UTC))

    def handler(_input: Any, env: Env) -> Any:
        first = env.approve("resize", "Resize?", payload={"to": 2}, schema={"type": "object"})
        env.sleep(60)
        return [first.approved, first.data, first.comment, env.approve("drop", "Drop?").approved]

    result = _run(handler, approvals={"resize": given, "drop": False})
    assert (result.output, result.runs) == ([True, {"size": 2}, "go", False], 4)
    assert result.waits == ["a decision", "60 s", "a decision"]


def test_a_timeout_denies_or_fails_as_the_author_says() -> None:
    def handler(_input: Any, env: Env) -> Any:
        denied = env.approve("a", "A?", timeout=60)
        try:
            env.approve("b", "B?", timeout=60, on_timeout="fail")
        except ava.WaitTimeout as error:
            return [denied.approved, denied.by, str(error)]

    result = _run(handler, approvals={"a": None, "b": None})
    assert result.output == [False, [], "The approval 'b' was not decided within 60 s."]


def test_other_content_under_the_same_name_asks_again() -> None:
    sizes = iter([1, 2, 2])

    def handler(_input: Any, env: Env) -> Any:
        return env.approve("resize", "Resize?", payload=next(sizes)).approved

    result = _run(handler, approvals={"resize": True})
    assert (result.output, result.runs) == (True, 3)


def test_branches_wait_for_decisions_at_the_same_time() -> None:
    async def handler(_input: Any, env: Env) -> Any:
        found = await env.gather(env.approve("a", "A?"), env.approve("b", "B?"))
        return [each.approved for each in found]

    assert _run(handler, approvals={"a": True, "b": False}).output == [True, False]


_LONGEST = "x" * 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": ""}, "title must be"),
        ({"title": f"{_LONGEST}x"}, "title must be"),
        ({"payload": "x" * 256 * 1024}, "payload has"),
        ({"payload": {1, 2}}, "payload: "),
        ({"payload": float("nan")}, "payload: "),
        ({"payload": 2**53 + 1}, "RFC 8785"),
        ({"payload": "\ud800"}, "RFC 8785"),
        ({"schema": {"type": 7}}, "schema: "),
        ({"schema": {"$schema": 5}}, "schema: "),
        ({"schema": []}, "schema must be"),
        ({"roles": "tenant-admin"}, "roles must be a list"),
        ({"roles": ["worker"]}, "not 'worker'"),
        ({"users": ["usr_a"], "count": 2}, "users must list at least 2"),
        ({"users": ["key_a"]}, "ids such as usr_alice"),
        ({"count": True}, "count must be"),
        ({"timeout_seconds": 0}, "timeout_seconds must be"),
        ({"on_timeout": "approve"}, "on_timeout must be"),
        ({"not_by": 0}, "not_by must be"),
    ],
)
def test_a_request_that_nobody_could_decide_is_refused_with_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ApprovalRequest.of(**{"title": "Restart?"} | fields)


def test_the_hash_is_that_of_the_canonical_content() -> None:
    one = ApprovalRequest.of("Restart?", payload={"b": 1.0, "a": "é"})
    assert one.payload_hash == ApprovalRequest.of("Restart?", payload={"a": "é", "b": 1}).payload_hash
    assert one.payload_hash != ApprovalRequest.of("Restart!", payload={"a": "é", "b": 1}).payload_hash
