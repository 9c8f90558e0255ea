"""`python -m bench.doors`: the cost of MCP compared with REST, and the rate of an outbox's relay."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, create_engine

from ava.client import Client
from ava.client.outbox import Relay
from ava.client.outbox.sqlalchemy import Outbox
from bench.load import Load, generate, post
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, SECRET, System

_REVISION = "2026-07-28"
_INPUT = {"order": 17}
_CONNECTIONS = (1, 8)


def triggers(port: int, *, requests: int, connections: int) -> tuple[Load, Load]:
    """Return the loads of triggers over REST, and as calls of a tool that returns a task."""
    body = json.dumps({"worker_id": "wkr_noop", "input": _INPUT}).encode()
    sizes = {"requests": requests, "connections": connections}
    rest = generate(port, lambda _: post("/v1/ava/jobs", body, HEADERS), **sizes)
    return rest, generate(port, _call, **sizes)


def _call(number: int) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": _REVISION,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    }
    params = {"name": "noop", "arguments": _INPUT, "_meta": meta}
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    headers = {"MCP-Protocol-Version": _REVISION, "Mcp-Method": "tools/call", "Mcp-Name": "noop"}
    return post("/mcp", json.dumps(body).encode(), {**HEADERS, **headers})


def relayed(client: Client, database_url: str, *, rows: int) -> float:
    """Return the rows per second that a relay sends from an outbox with `rows` rows."""
    engine, metadata = create_engine(database_url), MetaData()
    outbox = Outbox(metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(rows):
            outbox.trigger(connection, "wkr_noop", {"order": number})
    relay, began = Relay(client, outbox.on(engine)), time.perf_counter()
    while relay.run_once(time.time()):
        pass
    seconds = time.perf_counter() - began
    engine.dispose()
    return rows / seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="and rows of the outbox (%(default)s)")
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as redis:
        system = System(Path(folder), database_url=postgres.url, broker_url=fresh_redis_url(redis))
        system.run("db", "upgrade")
        system.start(workers=0, environ={"AVA_HANDLERS": "bench.handlers"})
        try:
            # Jobs are created but not run: a node would share the processors.
            system.start_worker().terminate()
            for connections in _CONNECTIONS:
                _print(connections, *triggers(system.port, requests=requests, connections=connections))
            with Client(system.url, secret=SECRET, tenant=HEADERS["x-tenant-id"], user="usr_bench") as client:
                rate = relayed(client, postgres.url.replace("://", "+psycopg2://", 1), rows=requests)
        finally:
            system.stop()
    print(f"relay of an outbox: {rate:.0f} rows/s")


def _print(connections: int, rest: Load, mcp: Load) -> None:
    for name, load in (("POST /v1/ava/jobs", rest), ("tools/call", mcp)):
        print(f"{name}, {connections} connections: {load.requests_per_second:.0f}/s, p50 {load.p50:.1f} ms, "
              f"p99 {load.p99:.1f} ms, {load.refused} refused")  # fmt: skip
    print(f"  ratio {mcp.requests_per_second / rest.requests_per_second:.2f}")


if __name__ == "__main__":
    main()
