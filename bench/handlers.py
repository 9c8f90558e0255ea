"""The AVA Jobs handlers that correspond to the baseline's."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Any

from ava import Env, worker
from bench import input_schemas


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


@worker("asks")
def asks(_input: dict[str, Any], env: Env) -> bool:
    """Ask a person."""
    return env.approve("go_on", "Go on?").approved


@worker("fails")
def fails(_input: dict[str, Any]) -> None:
    """Fail, with any input."""
    raise ValueError("no such channel")


@worker("strict", input_schema=input_schemas.schema())
def strict(_input: dict[str, Any]) -> None:
    """Do nothing, with an input of many fields that the API validates with a schema."""


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


@worker("limited", max_running=5)
def limited(input: dict[str, Any]) -> None:
    """Sleep while holding one of five locks, which a killed process loses; record if none is free."""
    folder = Path(input["folder"])
    for number in range(5):
        with (folder / f"permit-{number}").open("w") as permit:
            try:
                fcntl.flock(permit, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            time.sleep(input["seconds"])
            return
    with (folder / "violations").open("a") as violations:
        violations.write(f"{time.time()}\n")


@worker("keyed", max_running=5, max_running_per="input.key")
def keyed(input: dict[str, Any]) -> None:
    """Sleep, with a limit for each key."""
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
# And with a limit that is never reached.
worker("limited_noop", max_running=1000)(noop)

for _number in range(20):
    worker(f"nap_{_number}")(nap)
