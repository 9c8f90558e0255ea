"""Simulate several machines on one: each process in its own network namespace, one of which is cut off.

Two API processes, three nodes and two dispatchers share PostgreSQL and RabbitMQ over a bridge. While jobs arrive, one
node's link is down for longer than its heartbeat timeout, then up again. The table shows where the jobs ran, and
whether any was lost. Requires root on Linux, and iproute2: `python -m chaos.namespaces [jobs]`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import requests

from ava import settings as settings_module
from ava.local.program import ChildProcess, Program
from ava.store.engine import schema
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import running_rabbitmq
from harness.system import HEADERS, ROOT, SECRET

BRIDGE = "ava-br0"
NETWORK = "10.213.7"
_KINDS = ("api", "api", "worker", "worker", "worker", "dispatcher", "dispatcher")
_CUT_SECONDS = 25
_LIVE = "SELECT count(*) FROM nodes WHERE stopped_at IS NULL AND seen_at > now() - interval '6 s'"
_NODE_PROCESSES = 2


def main(jobs: int) -> int:
    """Run it. Returns 0 if every job completed."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres()).url
        rabbitmq = stack.enter_context(running_rabbitmq()).url
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres, "BROKER_URL": rabbitmq}))
        stack.enter_context(bridge())
        environ = {
            **os.environ,
            "AVA_HANDLERS": "workers,workers.sleep",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": forwarded(postgres),
            "BROKER_URL": forwarded(rabbitmq),
            "AVA_INTERNAL_SECRET": SECRET,
        }
        for number, kind in enumerate(_KINDS, start=11):
            stack.enter_context(_member(number, kind, environ))
        return _scene(postgres, jobs)


def _scene(postgres: str, jobs: int) -> int:
    apis = [f"http://{NETWORK}.{number}:8080" for number in (11, 12)]
    database = psycopg2.connect(postgres)
    database.autocommit = True
    for api in apis:
        wait_until(lambda api=api: _answers(api), seconds=60, what=f"{api} is ready")
    wait_until(lambda: _value(database, "SELECT count(*) FROM nodes") == 3, seconds=60, what="three nodes have joined")
    accepted, started_at = 0, time.monotonic()
    is_cut = is_healed = False
    while accepted < jobs:
        accepted += _trigger(apis[accepted % 2])
        if not is_cut and accepted > jobs // 4:
            is_cut, cut_at = True, time.monotonic()
            ip("link", "set", "ava-v13", "down")
            print(f"{time.monotonic() - started_at:5.1f} s  node 13 is cut off")
        time.sleep(0.05)
    wait_until(lambda: time.monotonic() - cut_at > _CUT_SECONDS, seconds=2 * _CUT_SECONDS)
    ip("link", "set", "ava-v13", "up")
    is_healed = True
    print(f"{time.monotonic() - started_at:5.1f} s  node 13 is connected again")
    # The node reconnects by itself: first to the database, where it writes its heartbeat.
    with suppress(AssertionError):
        wait_until(lambda: _value(database, _LIVE) == 3, seconds=40)
    print(f"{time.monotonic() - started_at:5.1f} s  {_value(database, _LIVE)} nodes are live")
    late = [_trigger(apis[number % 2]) for number in range(20)]
    accepted += sum(late)
    unfinished = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"
    wait_until(lambda: _value(database, unfinished) == 0, seconds=120, what="every job has ended")
    print(f"{time.monotonic() - started_at:5.1f} s  every job has ended\n")
    return _report(database, accepted, is_healed)


def _report(database: object, accepted: int, is_healed: bool) -> int:
    print(f"{'node':<22}{'state':<9}{'jobs that ended there':>22}")
    statement = """SELECT n.name, CASE WHEN n.stopped_at IS NULL AND n.seen_at > now() - interval '14 s'
            THEN 'live' ELSE 'gone' END, count(j.id)
        FROM nodes AS n LEFT JOIN jobs AS j ON j.node_id = n.id AND j.status = 'completed' GROUP BY 1, 2 ORDER BY 1"""
    for name, state, count in _rows(database, statement):
        print(f"{name:<22}{state:<9}{count:>22}")
    (completed, failed, losses) = _rows(
        database,
        "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'), sum(losses)"
        " FROM jobs",
    )[0]
    print(f"\naccepted {accepted}, completed {completed}, failed {failed}, runs rescued {losses}")
    print(f"lost {accepted - completed - failed}")
    return 0 if completed == accepted and is_healed else 1


def _trigger(api: str) -> int:
    body = {"worker_id": "wkr_sleep", "input": {"seconds": 0.4}}
    response = requests.post(f"{api}/v1/ava/jobs", json=body, headers=HEADERS, timeout=20)
    return int(response.status_code == 201)


def _answers(api: str) -> bool:
    try:
        return requests.get(f"{api}/readyz", timeout=3).ok
    except requests.RequestException:
        return False


def _rows(database: object, statement: str) -> list[tuple[object, ...]]:
    with database.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(statement)
        found: list[tuple[object, ...]] = cursor.fetchall()
        return found


def _value(database: object, statement: str) -> object:
    return _rows(database, statement)[0][0]


# The network ---------------------------------------------------------------------------------------------------------


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True)


@contextmanager
def bridge() -> Iterator[None]:
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield
    finally:
        ip("link", "del", BRIDGE)


@contextmanager
def namespace(number: int) -> Iterator[str]:
    """Create a namespace at the address with its number; yields its name."""
    name, cable = f"ava-n{number}", f"ava-v{number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", cable, "master", BRIDGE, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            ip("-n", name, *command)
        yield name
    finally:
        ip("netns", "del", name)


@contextmanager
def _member(number: int, kind: str, environ: dict[str, str]) -> Iterator[None]:
    """Run a process of one kind in its own namespace."""
    options = {"api": ("--host", f"{NETWORK}.{number}", "--port", "8080"), "worker": ("-c", str(_NODE_PROCESSES))}
    program = (sys.executable, "-m", "ava.cli.main", kind, *options.get(kind, ()))
    with namespace(number) as name, (Path(tempfile.gettempdir()) / f"{name}.log").open("wb") as log:
        argv = ("ip", "netns", "exec", name, *program)
        child = ChildProcess.start(Program(name=name, argv=argv, environ=environ, stop_seconds=45), log)
        try:
            yield
        finally:
            child.stop()


def forwarded(url: str, host: str = f"{NETWORK}.1") -> str:
    """Forward an address of the bridge to a server that listens on 127.0.0.1. Returns the URL on the bridge."""
    parts = urlsplit(url)
    ready: list[int] = []
    done = threading.Event()

    async def serve() -> None:
        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", parts.port)
            await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))

        server = await asyncio.start_server(join, host, 0)
        ready.append(server.sockets[0].getsockname()[1])
        done.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    done.wait(10)
    account = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{account}@{host}:{ready[0]}"))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        # The link was down for too long; the peer sees the end of its own stream.
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
