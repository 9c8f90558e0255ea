"""Requests to hooks that are wrong in every way: `python -m tests.integration.hook_fuzz --requests 20000`."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from ava import settings as settings_module
from ava.domain.events.hook import Received
from ava.domain.events.verification import sign, verify
from ava.domain.events.verifiers import Verifier
from ava.store.engine import schema
from harness.api import Api
from harness.servers.postgres import running_postgres
from tests.integration.hook_sender import NO_HEADERS, SECRET, Hook, count_jobs

_PROVIDERS = ("github", "stripe", "slack", "standard", "shopify")
_TOKENS = ("", "x", "avahook_00.", "avahook_00." + "a" * 59, "../../x", "%00", "ava_00." + "b" * 59)
_ODD = ("", "\x7f", "v1,", "t=,v1=", "sha256=", "=" * 3_000, "a,b", "-1", "9" * 30, "\xff\xfe", "null")


def fuzz(api: Api, requests: int, *, seed: int = 7) -> Counter[int]:
    """Send so many requests. Returns their number by the status of the answer.

    Raises `AssertionError` for a 5xx, and for a job whose request was not genuine.
    """
    rng = random.Random(seed)
    hooks = [Hook(api, provider, name=provider, worker_id="wkr_open") for provider in _PROVIDERS]
    found: Counter[int] = Counter()
    made = count_jobs(api)
    for number in range(requests):
        hook = rng.choice(hooks)
        path, method, headers, body = _request(rng, hook, number)
        response = api.request(method, path, data=body, headers={**NO_HEADERS, **headers})
        found[response.status_code] += 1
        assert response.status_code < 500, (method, path, headers, body, response.text)
        jobs = count_jobs(api)
        is_genuine = path == hook.path and method == "POST" and _is_genuine(hook.row, headers, body)
        assert jobs == made or (jobs == made + 1 and is_genuine), (path, headers, body)
        assert is_genuine or response.status_code not in (200, 202) or method != "POST", (path, headers, body)
        made = jobs
    return found


def _is_genuine(row: Verifier, headers: dict[str, str], body: bytes) -> bool:
    request = Received(headers={name.lower(): value for name, value in headers.items()}, body=body)
    return verify(row, [SECRET], request, now=time.time(), tolerance_seconds=301) is None


def _request(rng: random.Random, hook: Hook, number: int) -> tuple[str, str, dict[str, str], bytes]:
    body = _body(rng, number)
    headers = {"x-github-event": "push", "x-github-delivery": str(number), "content-type": "application/json"}
    now = time.time() + rng.choice((0, 0, 0, -290, 290, -3_600, 3_600))
    secret = SECRET if rng.random() < 0.8 else "whsec_YW5vdGhlciBzZWNyZXQgb2Ygb3Vycw=="
    headers |= sign(hook.row, secret, Received(headers=headers, body=body), now=now)
    for _ in range(rng.choice((0, 1, 1, 2))):
        headers, body = _changed(rng, headers, body)
    path = f"/v1/hooks/{rng.choice(_TOKENS)}" if rng.random() < 0.1 else hook.path
    method = rng.choice(("GET", "PUT", "OPTIONS", "DELETE")) if rng.random() < 0.05 else "POST"
    return path, method, headers, body


def _body(rng: random.Random, number: int) -> bytes:
    values: list[Any] = [{"id": f"evt_{number}", "type": "x"}, [number], number, None, {"a": {"b": [number] * 9}}]
    return rng.choice((json.dumps(rng.choice(values)).encode(), b"", rng.randbytes(40), b"[" * 700))


def _changed(rng: random.Random, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    name = rng.choice(sorted(headers))
    kind = rng.randrange(5)
    if kind == 0 and body:
        position = rng.randrange(len(body))
        return headers, body[:position] + bytes([body[position] ^ 1 << rng.randrange(8)]) + body[position + 1 :]
    if kind == 1:
        return {each: value for each, value in headers.items() if each != name}, body
    if kind == 2:
        return {**headers, name: rng.choice(_ODD)}, body
    if kind == 3 and headers[name]:
        position = rng.randrange(len(headers[name]))
        flipped = chr(ord(headers[name][position]) ^ 1 << rng.randrange(7))
        changed = headers[name][:position] + flipped + headers[name][position + 1 :]
        return {**headers, name: changed if changed.isprintable() else "x"}, body
    return {**headers, "content-encoding": rng.choice(("gzip", "br", "gzip, gzip"))}, body


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    asked = parser.parse_args()
    with running_postgres() as postgres:
        environ = {
            "DATABASE_URL": postgres.url,
            "BROKER_URL": "redis://127.0.0.1:1/0",
            "AVA_INTERNAL_SECRET": "of-all-the-tests",
            "AVA_ENCRYPTION_KEY": "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE=",
        }
        settings = settings_module.load(environ)
        schema.upgrade(settings)
        many = f"{10 * asked.requests}/minute"
        with Api.running(replace(settings, rate_limit_hook=many, rate_limit_address=many)) as api:
            print(dict(fuzz(api, asked.requests)))  # noqa: T201 - the answer of the command


if __name__ == "__main__":
    _main()
