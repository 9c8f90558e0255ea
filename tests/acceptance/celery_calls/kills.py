"""`python -m tests.acceptance.celery_calls.kills [KILLS]`: kill web processes, relays and workers below their calls.

One web process calls tasks, each under its own `task_id`, and repeats the call that had not returned when the process
was killed. Another one writes an order and the call of its task in one transaction of its own database, from which a
relay sends it. A node runs the tasks. Afterwards each call that returned, and each order, has one job, which completed
once. Processes are forked, so that a kill costs no import.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ava_celery
import psycopg2
from sqlalchemy import Column, MetaData, String, Table, create_engine, insert
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from ava.client import Client
from ava.client.outbox import Relay
from ava.client.outbox.sqlalchemy import Outbox
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, SECRET, System

_FORK = multiprocessing.get_context("fork")
_APP = "tests.acceptance.celery_calls.celery"
#: Min and max seconds between kills, so that each process makes a few calls.
_PAUSES = (0.05, 0.4)
_METADATA = MetaData()
_ORDERS = Table("orders", _METADATA, Column("task_id", String, primary_key=True))
_OUTBOX = Outbox(_METADATA)


def main(kills: int) -> int:
    """Kill so many processes. Returns 1 if a job is lost, twice or wrong."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_postgres() as postgres,
        running_redis() as redis,
    ):
        folder, project_url = Path(name), fresh_redis_url(redis)
        system = System(folder, database_url=postgres.url, broker_url=fresh_redis_url(redis), api_processes=1)
        environ = {"AVA_CELERY_APPS": f"{_APP}:app", "AVA_HANDLERS": "workers", "PROJECT_BROKER_URL": project_url}
        system.run("db", "upgrade")
        system.start(concurrency=3, environ=environ)
        os.environ |= environ | {"AVA_URL": system.url, "AVA_INTERNAL_SECRET": SECRET}
        os.environ |= {"AVA_TENANT_ID": HEADERS["x-tenant-id"], "AVA_USER_ID": HEADERS["x-user-id"]}
        database_url = _make_database(postgres.url)
        try:
            return _kill_and_check(system, folder, database_url, kills)
        finally:
            system.stop()


def _make_database(url: str) -> str:
    """Create the application's own database. Returns its URL."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
    connection.close()
    shop = f"{url.rpartition('/')[0]}/shop".replace("://", "+psycopg2://", 1)
    _METADATA.create_all(create_engine(shop, poolclass=NullPool))
    return shop


def _kill_and_check(system: System, folder: Path, database_url: str, kills: int) -> int:
    roles: dict[str, Callable[[int], None]] = {
        "web process": partial(_call, folder / "begun", folder / "returned"),
        "web process with an outbox": partial(_order, database_url),
        "relay": partial(_relay, database_url),
    }
    running = {role: _start(work, 0) for role, work in roles.items()}
    killed: Counter[str] = Counter()
    began = time.monotonic()
    while killed.total() < kills:
        time.sleep(random.uniform(*_PAUSES))
        role = random.choice([*roles, "worker"])
        if role == "worker":
            if not (children := system.workers[-1].children):
                continue
            random.choice(children).kill()
        else:
            running[role].kill()
            running[role].join()
            running[role] = _start(roles[role], killed.total() + 1)
        killed[role] += 1
    for role in ("web process", "web process with an outbox"):
        running[role].kill()
        running[role].join()
    seconds = time.monotonic() - began
    engine = create_engine(database_url, poolclass=NullPool)

    def sent() -> bool:
        with engine.connect() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM ava_outbox").scalar() == 0

    wait_until(sent, seconds=300, what="the relay has sent each row")
    unfinished = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
    wait_until(lambda: system.query(unfinished)[0][0] == 0, seconds=300, what="each job has ended")
    running["relay"].kill()
    running["relay"].join()
    with engine.connect() as connection:
        orders = set(connection.exec_driver_sql("SELECT task_id FROM orders").scalars())
    found = f"{killed.total()} kills in {seconds:.0f} s: {', '.join(f'{n} of a {role}' for role, n in killed.items())}"
    return _check(system, found, set((folder / "returned").read_text().split()), orders)


def _check(system: System, found: str, returned: set[str], orders: set[str]) -> int:
    jobs = Counter(task_id for (task_id,) in system.query("SELECT tags->>'task_id' FROM jobs"))
    wrong = "status <> 'completed' OR output::text::int <> (input->'args'->>0)::int + 1"
    ((bad,),) = system.query(f"SELECT count(*) FROM jobs WHERE {wrong}")
    ((again,),) = system.query("SELECT count(*) FROM jobs WHERE losses > 0")
    ((completions,),) = system.query(
        "SELECT count(*) FROM job_logs, unnest(msgs) AS line WHERE line LIKE 'Handler completed%%'"
    )
    lost = (returned | orders) - jobs.keys()
    uncommitted = {task_id for task_id in jobs if task_id.startswith("order")} - orders
    twice = [task_id for task_id, count in jobs.items() if count > 1]
    sys.stdout.write(
        f"{found}\n{len(returned)} calls returned, {len(orders)} orders committed, {jobs.total()} jobs, {again} of "
        f"which ran again after a kill, {completions} completions\n{len(lost)} lost, {len(twice)} twice, "
        f"{bad} not completed, {len(uncommitted)} without their order\n"
    )
    return int(bool(lost or twice or bad or uncommitted or completions != jobs.total()))


def _start(work: Callable[[int], None], number: int) -> multiprocessing.process.BaseProcess:
    process = _FORK.Process(target=work, args=(number,), daemon=True)
    process.start()
    return process


def _call(begun: Path, returned: Path, number: int) -> None:
    """Call tasks as a web process does, first the one whose call has not returned."""
    from tests.acceptance.celery_calls.celery import survives

    open_calls = set(_lines(begun)) - set(_lines(returned))
    with begun.open("a", buffering=1) as begins, returned.open("a", buffering=1) as returns:
        for n in range(10**6):
            task_id = open_calls.pop() if open_calls else f"call-{number}-{n}"
            begins.write(f"{task_id}\n")
            survives.apply_async((int(task_id.split("-")[1]), 1), task_id=task_id)
            returns.write(f"{task_id}\n")


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _order(database_url: str, number: int) -> None:
    """Write orders and the calls of their tasks as a web process with an outbox does."""
    from tests.acceptance.celery_calls.celery import survives

    engine, sessions = create_engine(database_url), []
    ava_celery.install(survives.app, outbox=lambda: partial(_OUTBOX.trigger, sessions[-1]))
    for n in range(10**6):
        with Session(engine) as session, session.begin():
            sessions[:] = [session]
            session.execute(insert(_ORDERS).values(task_id=f"order-{number}-{n}"))
            survives.apply_async((number, 1), task_id=f"order-{number}-{n}")
        # The relay sends fewer rows than this process could write.
        time.sleep(0.02)


def _relay(database_url: str, _number: int) -> None:
    Relay(Client.from_environment(), _OUTBOX.on(create_engine(database_url)), idle_seconds=0.05).run()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
