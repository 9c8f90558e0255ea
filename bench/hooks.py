"""Measure deliveries to hooks compared with triggers, and an event with a thousand subscriptions.

`python -m bench.hooks` starts a system with one API process on one core, and prints the figures. It is a separate
command, because it compares two calls on one system and needs no baseline.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import tempfile
from pathlib import Path
from typing import Any

import psutil

from ava import settings as settings_module
from ava.store.engine import schema
from bench.load import Load, generate, post
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.system import HEADERS, System

_SECRET = "the-secret-of-the-bench"
_MANY = "100000000/minute"
_ENVIRON = {
    "AVA_ENCRYPTION_KEY": "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE=",
    "AVA_RATE_LIMIT_HOOK": _MANY,
    "AVA_RATE_LIMIT_ADDRESS": _MANY,
}
_SUBSCRIPTIONS = """
INSERT INTO subscriptions (tenant_id, event_type, worker_id, match, input, priority, created_by)
SELECT %s, 'order.paid', 'wkr_sleep', json_build_object('data', json_build_object('shop', json_build_array(n))),
    '{"seconds": 0}'::json, 5, 'usr_bench' FROM generate_series(1, 990) AS n
UNION ALL
SELECT %s, 'order.paid', 'wkr_sleep', '{"data": {"shop": [{"numeric": [">", 100000]}]}}'::json,
    '{"seconds": 0}'::json, 5, 'usr_bench' FROM generate_series(1, 10)
"""


def accept(system: System, *, requests: int) -> tuple[Load, Load]:
    """Return the loads of triggers, and of deliveries to a GitHub hook that create the same job."""
    port = _port(system)
    body = json.dumps({"worker_id": "wkr_sleep", "input": {"seconds": 0}}).encode()
    triggers = generate(port, lambda _: post("/v1/ava/jobs", body, HEADERS), requests=requests)
    hook: dict[str, Any] = {"name": "bench", "provider": "github", "secret": _SECRET, "worker_id": "wkr_sleep"}
    made = system.post("/v1/ava/hooks", json={**hook, "input": {"seconds": 0}}).json()["data"]
    path = made["url"].partition(str(port))[2]
    return triggers, generate(port, lambda number: _delivery(path, number), requests=requests)


def _delivery(path: str, number: int) -> bytes:
    body = json.dumps({"number": number}).encode()
    digest = hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-github-event": "push", "x-github-delivery": str(number), "x-hub-signature-256": f"sha256={digest}"}
    return post(path, body, headers)


def match(system: System, *, requests: int) -> Load:
    """Return the load of sequential events that match 10 of 1,000 subscriptions of their type."""
    tenant = HEADERS["x-tenant-id"]
    system.query(_SUBSCRIPTIONS, tenant, tenant)
    system.query(
        "INSERT INTO subscription_versions VALUES (%s, 1)"
        " ON CONFLICT (tenant_id) DO UPDATE SET version = subscription_versions.version + 1",
        tenant,
    )
    body = json.dumps({"type": "order.paid", "data": {"shop": 200_000, "number": 7}}).encode()
    return generate(_port(system), lambda _: post("/v1/ava/events", body, HEADERS), requests=requests, connections=1)


def _port(system: System) -> int:
    return int(system.url.rpartition(":")[2])


def _pin(system: System) -> None:
    """Pin the API to one core."""
    assert system.api
    for pid in (system.api.pid, *(child.pid for child in system.api.children)):
        psutil.Process(pid).cpu_affinity([0])


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000)
    asked = parser.parse_args()
    with running_postgres() as postgres, running_redis() as redis, tempfile.TemporaryDirectory() as folder:
        urls = {"DATABASE_URL": postgres.url, "BROKER_URL": redis.url}
        schema.upgrade(settings_module.load(urls))
        system = System(Path(folder), database_url=postgres.url, broker_url=redis.url, api_processes=1)
        try:
            system.start(environ=_ENVIRON)
            _pin(system)
            triggers, deliveries = accept(system, requests=asked.requests)
            events = match(system, requests=asked.requests // 5)
        finally:
            system.stop()
    ratio = deliveries.requests_per_second / triggers.requests_per_second
    for name, load in (("triggers", triggers), ("deliveries", deliveries), ("events, 10 of 1,000 match", events)):
        print(f"{name}: {load.requests_per_second:.0f}/s, p50 {load.p50:.1f} ms, p99 {load.p99:.1f} ms, "
              f"{load.refused} refused")  # fmt: skip
    print(f"deliveries / triggers: {ratio:.2f} (promised 0.8)")


if __name__ == "__main__":
    _main()
