"""Jobs try to leak a secret in every way: `python -m chaos.leaks --jobs 1000`, on Redis and on RabbitMQ.

A worker has a secret. Its jobs write it to their log, output, progress and error, to the message and the class of an
exception, to an environment that subprocesses print, and in base64. Then no table, log, broker message, metric, trace,
webhook or process title may contain it. Prints the searched places, and returns 0 if it was found nowhere.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from ava import settings as settings_module
from ava.store.engine import schema
from chaos.cluster import BROKERS
from chaos.proxy import Proxy, proxy_to, through
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import running_rabbitmq
from harness.servers.receiver import Receiver
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import MARK, System, carries

WAYS = ("return", "raise", "class", "exit")
_SECRET = "marker-9b41de-of-the-leaks"
_BULK = 500
_LONGEST_SECONDS = 900


@dataclass
class _Watched:
    """A system with recorded messages, traces and webhooks."""

    system: System
    broker: Proxy
    receiver: Receiver
    titles: set[str] = field(default_factory=set)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.leaks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000, help="jobs that try it (%(default)s)")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this broker")
    options = parser.parse_args()
    results = {broker: _try_on(broker, options.jobs) for broker in options.broker or BROKERS}
    return int(not all(results.values()))


def _try_on(broker: str, jobs: int) -> bool:
    with _running(broker) as watched:
        began = time.monotonic()
        statuses = _leak(watched, jobs)
        sources = stored_strings(watched.system) | {
            "messages of the broker": _decoded(watched.broker.passed),
            "traces": _decoded(sent.body for sent in watched.receiver.received if "/traces" in sent.path),
            "webhooks": _decoded(sent.body for sent in watched.receiver.received if sent.path == "/hook"),
            "titles": "\n".join(watched.titles),
        }
        missing = [name for name, content in sources.items() if not content]
        found = sorted(name for name, content in sources.items() if any(form in content for form in forms(_SECRET)))
        ended = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        size = sum(map(len, sources.values())) / 2**20
        print(f"{broker}: {ended} in {time.monotonic() - began:.0f} s; {len(sources)} places, {size:.0f} MiB")
        print(f"{broker}: looked for in {', '.join(sorted(set(sources) - set(missing)))}", flush=True)
        expected = {"completed": -(-jobs // len(WAYS)), "failed": jobs - -(-jobs // len(WAYS))}
        print(f"{broker}: {'found in ' + ', '.join(found) if found else 'the secret is nowhere'}", flush=True)
        return not found and statuses == expected and not {"traces", "webhooks", "titles"} & set(missing)


def forms(secret: str) -> set[str]:
    """Return the strings that reveal a secret: itself, its beginning, and its base64 at each alignment."""
    encoded = set()
    for before in range(3):
        # Omit digits that depend on adjacent characters.
        digits = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        encoded.add(digits[-(-before * 8 // 6) : -2])
    return {secret, secret[:12], *encoded}


def stored_strings(system: System) -> dict[str, str]:
    """Return everything in a system that outlasts a job: tables, logs, metrics, and process titles."""
    tables = system.query("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    sources = {name: str(system.query(f"SELECT t::text FROM {name} AS t")) for (name,) in tables}
    sources |= {process.log.name: process.output for process in system.processes}
    return sources | {"metrics": system.get("/metrics").text, "titles of now": "\n".join(_titles(system))}


def _titles(system: System) -> set[str]:
    found = set()
    for process in psutil.process_iter():
        if carries(process, system.environ[MARK]):
            try:
                found.add(" ".join(process.cmdline()))
            except psutil.Error:
                continue
    return found


def _decoded(parts: Iterator[bytes] | list[bytearray]) -> str:
    return "\n".join(bytes(part).decode(errors="replace") for part in parts)


def _leak(watched: _Watched, jobs: int) -> Mapping[str, int]:
    """Run the jobs while reading process titles. Returns the number of jobs by status."""
    system = watched.system
    for first in range(0, jobs, _BULK):
        ways = [WAYS[number % len(WAYS)] for number in range(first, min(first + _BULK, jobs))]
        bulk = {"jobs": [{"worker_id": "wkr_t_leak", "input": {"how": how}} for how in ways]}
        system.post("/v1/ava/jobs/bulk", json=bulk).raise_for_status()
    deadline = time.monotonic() + _LONGEST_SECONDS
    while system.query("SELECT FROM jobs WHERE completed_at IS NULL LIMIT 1") and time.monotonic() < deadline:
        watched.titles |= _titles(system)
        time.sleep(0.5)
    while time.monotonic() < deadline and len({event["data"]["id"] for event in _sent(watched)}) < jobs:
        time.sleep(0.5)
    return dict(system.query("SELECT status, count(*)::int FROM jobs GROUP BY 1"))


def _sent(watched: _Watched) -> list[dict[str, dict[str, str]]]:
    return [sent.event for sent in watched.receiver.received if sent.path == "/hook"]


@contextmanager
def _running(broker: str) -> Iterator[_Watched]:
    run_broker = running_redis if broker == "redis" else running_rabbitmq
    with running_postgres() as postgres, run_broker() as server, private_folder() as folder:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": server.url}))
        proxy, receiver = proxy_to(server.url, keeps_data=True), Receiver()
        broker_url = through(proxy, server.url)
        system = System(folder, database_url=postgres.url, broker_url=broker_url, api_processes=1)
        environ = {
            "AVA_HANDLERS": "tests.acceptance.secret_handlers",
            "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url.removesuffix("/hook"),
        }
        try:
            system.start(workers=1, webhooks=1, concurrency=4, environ=environ)
            body = {"secrets": {"TOKEN": _SECRET}, "config": {"REGION": "eu"}}
            system.request("PATCH", "/v1/ava/workers/wkr_t_leak", json=body).raise_for_status()
            hook = {"url": receiver.url, "events": ["ava.job.completed", "ava.job.failed"], "secret": "x" * 24}
            system.post("/v1/webhooks", json=hook).raise_for_status()
            yield _Watched(system, proxy, receiver)
        finally:
            system.stop()
            proxy.close()
            receiver.close()


if __name__ == "__main__":
    sys.exit(main())
