"""Triage an incident, and wait for a person's decision."""

from dataclasses import dataclass

import ava
from ava import Env, worker


@dataclass
class Incident:
    id: str
    host: str
    failed_logins: int


def assess(failed_logins: int) -> str:
    return "high" if failed_logins > 10 else "low"


def notify(incident: str, severity: str) -> None:
    print(f"To the engineer on call: {incident} has severity {severity}. Isolate the host?")


def isolate(host: str) -> None:
    print(f"{host} is isolated")


@worker(max_retries=3)
def triage(input: Incident, env: Env) -> dict[str, str]:
    severity = env.step("assess", assess, input.failed_logins)
    if severity == "low":
        return {"severity": severity, "action": "none"}
    env.step("notify", notify, input.id, severity)
    try:
        event = env.wait_event("incident.decided", {"data": {"incident": [input.id]}}, timeout=4 * 3600)
        action = event["data"]["action"]
    except ava.WaitTimeout:
        action = "isolate"
    if action == "isolate":
        env.step("isolate", isolate, input.host)
    return {"severity": severity, "action": action}
