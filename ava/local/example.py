"""The example job that `ava up` prints and `ava demo` runs."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["EXAMPLE", "curl", "headers"]

#: The job of the API's contract, for the worker that comes with the system.
EXAMPLE: dict[str, Any] = {
    "worker_id": "wkr_incident_notify",
    "priority": 2,
    "input": {"incident_id": "inc_01hxyz", "channel": "#security-ops"},
}


def headers(secret: str) -> dict[str, str]:
    """Returns the four headers that every request carries."""
    return {
        "x-internal-secret": secret,
        "x-tenant-id": "ten_01hxyz",
        "x-user-id": "usr_01hxyz",
        "x-platform-role": "tenant-system-admin",
    }


def curl(url: str, secret: str, job: dict[str, Any] = EXAMPLE) -> str:
    """Returns a shell command that triggers a job."""
    lines = [f"curl -X POST {url}/v1/ava/jobs"]
    lines += [f'-H "{name}: {value}"' for name, value in headers(secret).items()]
    lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(job)}'"]
    return " \\\n  ".join(lines)
