"""Triage an incident, and ask a person before a host is isolated."""

from dataclasses import asdict, dataclass
from typing import Any

from ava import Env, worker


@dataclass
class Incident:
    id: str
    host: str
    failed_logins: int


def assess(failed_logins: int) -> str:
    return "high" if failed_logins > 10 else "low"


def isolate(host: str) -> None:
    print(f"{host} is isolated")


@worker(max_retries=3)
def triage(input: Incident, env: Env) -> dict[str, Any]:
    severity = env.step("assess", assess, input.failed_logins)
    if severity == "low":
        return {"severity": severity, "isolated": False}
    decision = env.approve("isolate", f"Isolate {input.host}?", payload=asdict(input), timeout=4 * 3600)
    if decision.approved:
        env.step("isolate", isolate, input.host)
    return {"severity": severity, "isolated": decision.approved}
