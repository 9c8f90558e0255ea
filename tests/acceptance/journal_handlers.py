"""Handlers that make children, keep steps and wait."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from ava import Env, worker
from tests.acceptance.witness import record

Input = dict[str, Any]


@worker("t_part")
def part(input: Input, env: Env) -> int:
    """Return a number, or fail."""
    if input.get("fails"):
        raise ValueError("on purpose")
    return int(input["n"]) * 10


@worker("t_chord")
def chord(input: Input, env: Env) -> dict[str, Any]:
    """Make children, wait for all, and add up what they return."""
    record(input, "entered")
    env.log.info("makes the parts")
    children = [env.trigger("t_part", {"n": n}, key=f"part {n}") for n in range(input["parts"])]
    try:
        total = sum(env.wait(*children))
    finally:
        record(input, "left")
    env.log.info("adds up")
    return {"total": total}


@worker("t_doze", max_retries=1)
def doze(input: Input, env: Env) -> str:
    """Work a little before and after a wait, and fail the first attempt."""
    time.sleep(0.05)
    env.sleep(1.0, key=f"attempt {env.attempt}")
    time.sleep(0.05)
    if env.attempt == 1:
        raise ValueError("on purpose")
    return "rested"


@worker("t_nap")
def nap(input: Input, env: Env) -> str:
    """Wait outside of a process."""
    record(input, "entered")
    env.sleep(input.get("seconds", 1.0))
    record(input, "awake")
    return "rested"


#: The steps of `t_steps`.
STEPS = ("one", "two", "three", "four", "five")


@worker("t_steps", on_worker_lost="requeue")
def steps(input: Input, env: Env) -> list[str]:
    """Take five steps. The process is killed at a place: before, within or after the effect of a step, once."""

    def effect(name: str) -> str:
        _kill_once(input, f"before {name}")
        record(input, f"{name}:{env.step_key}".replace(" ", "_"))
        _kill_once(input, f"within {name}")
        return name

    taken = []
    for name in STEPS:
        taken.append(env.step(name, effect, name, once=input.get("once", "at_least")))
        _kill_once(input, f"after {name}")
    return taken


def _kill_once(input: Input, point: str) -> None:
    if input.get("kill_at") == point and not os.path.exists(f"{input['file']}.killed"):
        record({"file": f"{input['file']}.killed"}, "killed")
        os.kill(os.getpid(), signal.SIGKILL)


@worker("t_payments", on_worker_lost="requeue")
def payments(input: Input, env: Env) -> list[str]:
    """Wait for the payments of an order, one after the other. Two of its processes are killed on the way, if asked."""
    match = {"data": {"order": [input["order"]]}}

    def book(payment: str) -> str:
        record(input, payment)
        _kill_once(input, f"within {payment}")
        return payment

    booked = []
    for n in range(input["payments"]):
        event = env.wait_event("t.paid", match, timeout=input.get("timeout"), key=f"payment {n}")
        _kill_once(input, f"before {event['data']['payment']}")
        booked.append(env.step("book", book, event["data"]["payment"], key=str(n)))
    return booked


@worker("t_approved", on_worker_lost="requeue")
def approved(input: Input, env: Env) -> dict[str, Any]:
    """Ask a person. A process is killed before the request and after the decision, if asked."""
    _kill_once(input, "before the request")
    decision = env.approve("act", "Act?", payload={"n": 1}, schema={"type": "object"})
    _kill_once(input, "after the decision")
    record(input, "acted")
    return {"approved": decision.approved, "data": decision.data, "by": [each["id"] for each in decision.by]}


@worker("t_returns_outputs")
def returns_outputs(input: Input, env: Env) -> dict[str, Any]:
    """Return what waits have returned."""
    child = env.trigger("t_part", {"n": 1}, key="alone")
    return {"one": env.wait(child), "map": env.map("t_part", ({"n": n} for n in range(120))), "child": child}
