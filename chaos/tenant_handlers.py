"""The handlers of `chaos.tenants`."""

from __future__ import annotations

import base64
import html
import json
import time
from typing import Any
from urllib.parse import quote

from ava import Env, worker

#: Max objects with which a schema may compare a value.
CHOICES = [{"n": number} for number in range(200)]


@worker("brief", timeout_seconds=3600, cancel_grace_seconds=1)
def brief(input: dict[str, Any]) -> dict[str, Any]:
    """Sleep for `seconds`, and return the input."""
    time.sleep(input["seconds"])
    return input


@worker("wordy", timeout_seconds=3600, cancel_grace_seconds=1)
def wordy(input: dict[str, Any]) -> None:
    """Log `lines` lines of 1 KB."""
    for _ in range(input["lines"]):
        print("x" * 1_000)


@worker("leaky", timeout_seconds=3600, cancel_grace_seconds=1)
def leaky(input: dict[str, Any], env: Env) -> None:
    """Log `secrets` secrets in every quoting."""
    for secret in list(env.secrets.values())[: input["secrets"]]:
        raw = secret.encode()
        encoded = base64.b64encode(raw).decode()
        for line in (secret, json.dumps(secret), quote(secret), html.escape(secret), raw.hex(" "), encoded):
            print(line)
        print(json.dumps(json.dumps({"secret": secret})))


@worker(
    "choosy",
    timeout_seconds=3600,
    input_schema={"type": "object", "properties": {"choices": {"type": "array", "items": {"enum": CHOICES}}}},
)
def choosy(input: dict[str, Any]) -> None:
    """Do nothing; the check of the input is expensive."""
