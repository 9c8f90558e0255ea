"""Kills of an application with an outbox, of its relay, and of the API."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

import psycopg2

from ava.domain import ids
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.load import WORKER, Accepted
from chaos.outbox_application import committed
from harness.polling import wait_until
from harness.system import HEADERS, ROOT, SECRET

#: Tries of the application, kills of the relay; the API is killed with every second of them.
_TRIES, _KILLS = 1_000, 20
_DATABASE = "application"
_MADE = "SELECT (input ->> 'order')::integer, id::text FROM jobs WHERE input ->> 'order' IS NOT NULL"


def _kill_around_outbox(cluster: Cluster) -> Injury:
    """Kill the relay, and the API with it, while an application commits, rolls back, and is killed."""
    url, chance = _create_database(cluster), random.Random(47)
    application, relay = _start_application(url), None
    since = time.monotonic()
    try:
        for kill in range(_KILLS):
            before = _made(cluster)
            _ask(application, _TRIES // _KILLS)
            relay = _start_relay(cluster, url)
            wait_until(lambda before=before: _made(cluster) > before, seconds=60, what="the relay sends rows")
            time.sleep(chance.uniform(0, 0.2))
            relay.kill()
            relay.wait()
            if kill % 2:
                _kill_api(cluster)
            since = time.monotonic()
        application.communicate(timeout=60)
        relay = _start_relay(cluster, url)
        wait_until(lambda: _query(url, "SELECT count(*) FROM ava_outbox") == [(0,)], seconds=60, what="all are sent")
        recovered_at = time.monotonic()
    finally:
        for process in (application, relay):
            if process is not None:
                process.kill()
                process.wait()
    return Injury(since=since, recovered_at=recovered_at, broken=_judge(cluster, url), measured=(f"{_TRIES} tries",))


def _kill_api(cluster: Cluster) -> None:
    api = cluster.system.api
    assert api
    for child in api.children:
        child.kill()
    api.kill()
    cluster.system.start_api()


def _judge(cluster: Cluster, url: str) -> list[str]:
    """Compare the committed orders with the jobs: one of each, and none of another one."""
    orders = Counter(number for (number,) in _query(url, "SELECT id FROM orders"))
    jobs = cluster.system.query(_MADE)
    made = Counter(number for number, _ in jobs)
    cluster.load.accepted += [Accepted(id=ids.encode("job", uuid), at=time.monotonic()) for _, uuid in jobs]
    broken = [f"order {number}: {orders[number]} commits, {made[number]} jobs" for number in orders | made
              if orders[number] != made[number]]  # fmt: skip
    return broken + ([] if len(orders) == committed(_TRIES) else [f"{len(orders)} orders are committed"])


def _made(cluster: Cluster) -> int:
    # The API's own connections may be ending with it.
    with suppress(psycopg2.Error):
        return len(cluster.system.query(_MADE))
    return 0


def _create_database(cluster: Cluster) -> str:
    """Returns the URL of a database of the application's own."""
    connection = psycopg2.connect(cluster.postgres.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {_DATABASE}")
    connection.close()
    return urlsplit(cluster.postgres.url)._replace(scheme="postgresql+psycopg2", path=f"/{_DATABASE}").geturl()


def _query(url: str, statement: str) -> list[tuple[int, ...]]:
    connection = psycopg2.connect(url.replace("+psycopg2", "", 1))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def _start_application(url: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "chaos.outbox_application", url, WORKER)
    application = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _ask(application, 0)
    assert application.stdout
    application.stdout.readline()
    return application


def _ask(application: subprocess.Popen[str], tries: int) -> None:
    assert application.stdin
    application.stdin.write(f"{tries}\n")
    application.stdin.flush()


def _start_relay(cluster: Cluster, url: str) -> subprocess.Popen[str]:
    environ = {
        "AVA_URL": cluster.system.url,
        "AVA_INTERNAL_SECRET": SECRET,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_OUTBOX_DATABASE_URL": url,
    }
    command = (sys.executable, "-m", "ava.cli.main", "outbox")
    log = (cluster.effects_path.parent / "relay.log").open("a")
    with log:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, text=True, stdout=log, stderr=log)


FAULTS = (
    Fault(
        name="kill -9 of an application with an outbox, its relay and the API, again and again",
        inject=_kill_around_outbox,
        promised_seconds=30,
        runs_alone=True,
    ),
)
