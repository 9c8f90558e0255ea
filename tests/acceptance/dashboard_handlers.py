"""Handlers for the dashboard's tests: one reports progress, one fails, one logs its input, one has a schema."""

from __future__ import annotations

import time
from typing import Any

from ava import Env, worker


@worker("report", name="Report", description="Reports its progress while it runs.", timeout_seconds=120)
def report(input: dict[str, Any], env: Env) -> dict[str, Any]:
    steps = int(input.get("steps", 10))
    for step in range(1, steps + 1):
        env.log.info("Step %d of %d", step, steps)
        env.progress(step / steps, f"step {step} of {steps}")
        time.sleep(float(input.get("seconds", 0.2)))
    env.log.warning("That was all")
    return {"steps": steps}


@worker("echo", name="<b>Echo</b>", description="Returns its input.")
def echo(input: dict[str, Any], env: Env) -> dict[str, Any]:
    env.log.info("%s", input.get("text", ""))
    return input


@worker("fail", name="Fail", description="Fails, after one more attempt.", max_retries=1)
def fail(input: dict[str, Any]) -> None:
    raise ValueError(str(input.get("why", "no such channel")))


@worker("route", name="Route")
def route(input: dict[str, Any]) -> None:
    raise LookupError(f"no route {input['to']}")


@worker(
    "order",
    name="Order",
    description="Returns its input.",
    timeout_seconds=60,
    max_retries=2,
    input_schema={
        "type": "object",
        "properties": {
            "customer": {"type": "string", "minLength": 3, "description": "Who it is for."},
            "count": {"type": "integer", "minimum": 1, "default": 1},
            "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "express": {"type": "boolean"},
            "size": {"enum": ["small", "large", 3]},
            "codes": {"type": "array", "items": {"type": "integer", "maximum": 99}},
            "address": {"$ref": "#/$defs/address"},
            "anything": {},
        },
        "required": ["customer", "address"],
        "additionalProperties": False,
        "$defs": {
            "address": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "floor": {"type": "integer"}},
                "required": ["city"],
            }
        },
    },
)
def order(input: dict[str, Any]) -> dict[str, Any]:
    return input


@worker("approved", name="Approved", description="Waits a moment, then for the approval of its order.")
def approved(input: dict[str, Any], env: Env) -> str:
    """Wait for an event."""
    env.sleep(1)
    event = env.wait_event("order.approved", {"data": {"order": [input["order"]]}})
    return str(event["data"]["by"])


@worker("restart", name="Restart", description="Asks a person before it restarts a host.")
def restart(input: dict[str, Any], env: Env) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
    decision = env.approve(
        "restart", f"Restart {input['host']}?", payload=input, schema=schema if input.get("asks") else None
    )
    return {"approved": decision.approved, "data": decision.data, "comment": decision.comment}
