"""An outbox on real servers: a job for each commit, while application, relay and API are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import psycopg2
import pytest

from ava.client import Client
from chaos import outbox_application
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.conftest import running_system

#: Tries of the application, and kills of the relay; the API is killed with every third.
TRIES = int(os.environ.get("OUTBOX_TRIES", "200"))
KILLS = max(3, TRIES // 50)


@pytest.fixture(scope="module")
def system(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An API and a dispatcher, and a worker that nothing runs."""
    folder, broker_url = tmp_path_factory.mktemp("outbox"), fresh_redis_url(redis_server)
    with _databases.fresh(is_pooled=False) as url, running_system(folder, url, broker_url, workers=0) as system:
        assert system.post("/v1/ava/workers", json={"slug": "order", "runtime": "pull"}).ok
        yield system


@pytest.fixture(scope="module")
def application_url(_databases: Databases) -> Iterator[str]:
    with _databases.fresh(is_pooled=False) as url:
        yield url.replace("postgresql://", "postgresql+psycopg2://", 1)


def _relay(system: System, url: str, *arguments: str) -> subprocess.Popen[str]:
    given = {
        "AVA_URL": system.url,
        "AVA_INTERNAL_SECRET": SECRET,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_OUTBOX_DATABASE_URL": url,
    }
    command = (sys.executable, "-m", "ava.cli.main", "start", "outbox", *arguments)
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _query(url: str, statement: str) -> list[tuple[int, ...]]:
    connection = psycopg2.connect(url.replace("+psycopg2", "", 1))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def _count(url: str, statement: str) -> int:
    return _query(url, statement)[0][0]


@pytest.mark.redis
@pytest.mark.timeout(240)
def test_each_commit_is_one_job_whatever_is_killed(system: System, application_url: str) -> None:
    application = subprocess.Popen(
        (sys.executable, "-m", "chaos.outbox_application", application_url, "wkr_order"),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert application.stdin
    assert application.stdout
    relay, asked = None, 0
    try:
        for kill in range(KILLS):
            before = _jobs(system)
            application.stdin.write(f"{TRIES // (KILLS + 1)}\n")
            application.stdin.flush()
            asked += TRIES // (KILLS + 1)
            if kill == 0:
                assert application.stdout.readline()
            relay = _relay(system, application_url)
            wait_until(lambda before=before: _jobs(system) > before, seconds=60, what="the relay sends rows")
            if kill % 3 == 1:
                assert isinstance(system.api, RunningProcess)
                system.api.kill()
                relay.kill()
                relay.communicate()
                system.start_api()
            else:
                relay.kill()
                relay.communicate()
        application.communicate(f"{TRIES - asked}\n", timeout=90)
        assert application.returncode == 0
        relay = _relay(system, application_url)
        left = "SELECT count(*) FROM ava_outbox"
        wait_until(lambda: _count(application_url, left) == 0, seconds=120, what="every row is sent")
        relay.terminate()
        output_of_relay, _ = relay.communicate(timeout=20)
        assert relay.returncode == 0, output_of_relay
    finally:
        for process in (application, relay):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
    committed = Counter(number for (number,) in _query(application_url, "SELECT id FROM orders"))
    # The other tests of this file trigger jobs of their own, without an order.
    of_orders = "SELECT (input->>'order')::int FROM jobs WHERE input->>'order' IS NOT NULL"
    made = Counter(number for (number,) in system.query(of_orders))
    assert made == committed
    assert len(committed) == outbox_application.committed(TRIES)


def _jobs(system: System) -> int:
    return int(system.query("SELECT count(*) FROM jobs")[0][0])


@pytest.mark.redis
def test_the_command_says_what_it_cannot_use(system: System, application_url: str) -> None:
    for url, arguments, reason in (
        ("", ("--once",), "AVA_OUTBOX_DATABASE_URL"),
        ("sqlite:///nowhere/else/file", ("--once",), "the database cannot be used"),
        ("shop.sqlite3", ("--once",), "it must be an SQLAlchemy URL, such as postgresql://"),
        (application_url, ("--once", "--table", "no_such_table"), "no_such_table"),
    ):
        done = _relay(system, url, *arguments)
        output, _ = done.communicate(timeout=60)
        assert done.returncode == 1
        assert reason in output
        assert output.count("\n") == 1


@pytest.mark.redis
def test_entries_with_keys_of_their_own_are_one_job_each_in_whatever_call(system: System) -> None:
    with Client(system.url, secret=SECRET, tenant=HEADERS["x-tenant-id"], user="usr_relay") as client:
        entries = [client.jobs.entry("wkr_order", idempotency_key=f"row {n}") for n in range(3)]
        later = [job.id for job in client.jobs.trigger_many(entries[1:])]
        assert [job.id for job in client.jobs.trigger_many(entries)][1:] == later
        assert len({job.id for job in client.jobs.trigger_many(entries)}) == 3
