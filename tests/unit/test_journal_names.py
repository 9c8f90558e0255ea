"""Which calls of a handler need a name of their own."""

from __future__ import annotations

from typing import Any

import pytest

import ava
from ava import testing
from ava.handler.env import Env

Input = dict[str, Any]

pytestmark = pytest.mark.usefixtures("restored_registry")


def test_a_wait_for_any_needs_a_name_for_its_time_out_alone() -> None:
    @ava.worker("any_test", max_retries=0)
    def handler(input: Input, env: Env) -> Any:
        children = [env.trigger("add", {"n": n}, key=str(n)) for n in range(2)]
        first = [env.wait_any(*children).id, env.wait_any(*children).id]
        env.sleep(3)
        return [*first, env.wait_any(*children).id, env.wait_any(*children).id]

    result = testing.run(handler, children={"wkr_add": lambda input: input["n"]})
    assert result.error is None
    assert len(set(result.output)) == 1

    @ava.worker("timed_test", max_retries=0)
    def timed(input: Input, env: Env) -> Any:
        children = [env.trigger("add", {"n": 1})]
        return [env.wait_any(*children, timeout=60).id, env.wait_any(*children, timeout=60).id]

    assert (testing.run(timed, children={"wkr_add": 1}).error or "").startswith("DuplicateName: ")
