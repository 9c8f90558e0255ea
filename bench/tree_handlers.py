"""Handlers of `bench.trees`: parts, waiting parents, and one that maps."""

from __future__ import annotations

import resource
from typing import Any

from ava import Env, worker


@worker("tree_part")
def tree_part(input: dict[str, Any]) -> int:
    """Return a number."""
    return int(input.get("n", 0))


@worker("tree_gated")
def tree_gated(_input: dict[str, Any]) -> None:
    """Do nothing, once its worker is no longer paused."""


@worker("tree_parent")
def tree_parent(input: dict[str, Any], env: Env) -> Any:
    """Wait for an event, or for a child."""
    if input["for"] == "event":
        return env.wait_event("bench.go")["data"]
    return list(env.wait(env.trigger("tree_gated")))


@worker("tree_map", timeout_seconds=3600)
def tree_map(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Create many children, of which at most `at_once` are unfinished. Returns the max memory of its last process."""
    outputs = env.map("tree_part", ({"n": n} for n in range(input["children"])), max_concurrency=input["at_once"])
    return {"sum": sum(outputs), "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
