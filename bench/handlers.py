"""The AVA Jobs handlers that correspond to the baseline's."""

from __future__ import annotations

import time
from typing import Any

from ava import Env, worker


@worker("noop")
def noop(_input: dict[str, Any], env: Env) -> Any:
    """Do nothing but log two lines."""
    env.log.info("one")
    env.log.info("two")
    return {"ok": 1}


@worker("mark")
def mark(_input: dict[str, Any], env: Env) -> Any:
    """Return the start time."""
    began = time.time()
    env.log.info("one")
    env.log.info("two")
    return {"began": began}


@worker("brief_nap")
def brief_nap(input: dict[str, Any], env: Env) -> Any:
    """Wait some milliseconds, as for another service."""
    env.log.info("one")
    time.sleep(input["ms"] / 1000)
    env.log.info("two")
    return {"ok": 1}


@worker("plain")
def plain(_input: dict[str, Any]) -> None:
    """Do nothing, with any input."""


@worker("wordy")
def wordy(input: dict[str, Any], env: Env) -> Any:
    """Log many lines."""
    for number in range(input["lines"]):
        env.log.info("Line %d of the log of this job, at length", number)
    return None


@worker("nap")
def nap(input: dict[str, Any]) -> Any:
    """Sleep, like a job that waits for another service."""
    time.sleep(input["seconds"])


@worker("rated", rate="100/minute")
def rated(_input: dict[str, Any]) -> None:
    """Do nothing, under a rate limit."""


_SMALL_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0}},
    "required": ["a"],
    "additionalProperties": False,
}
# The handlers above, with a schema.
worker("full_noop", input_schema=_SMALL_SCHEMA)(noop)
worker("full_mark", input_schema=_SMALL_SCHEMA)(mark)
_NAP_SCHEMA = {"type": "object", "properties": {"ms": {"type": "number"}}, "required": ["ms"]}
worker("full_brief_nap", input_schema=_NAP_SCHEMA)(brief_nap)
# And with a limit.
worker("limited", max_running=5)(nap)
