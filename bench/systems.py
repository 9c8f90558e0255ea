"""The two systems that are compared; only this module knows how they differ."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain.access.caller import Caller, Role
from ava.domain.jobs.job import JobSpec
from ava.domain.schedules.schedule import timezone_data_version
from ava.local.start import free_port
from ava.services.jobs import Jobs
from ava.settings import Settings, load
from ava.store.engine import schema
from ava.store.engine.database import Database as StoreDatabase
from bench import load as http
from bench.servers import Database, Servers, processes, until
from bench.table import BASELINE, OURS

SECRET = "of-the-benchmark"
HEADERS = {
    "x-internal-secret": SECRET,
    "x-tenant-id": "ten_bench",
    "x-user-id": "usr_bench",
    "x-platform-role": "tenant-system-admin",
}


def drained_seconds(database: Database, table: str, ended_at: str) -> tuple[float, float]:
    """Return the seconds from the first end in a table, and from the middle one, to the last."""
    ((first, middle, last),) = database.rows(
        "SELECT extract(epoch FROM min(at))::float8, percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM at)"
        f"::float8), extract(epoch FROM max(at))::float8 FROM (SELECT {ended_at} AS at FROM {table}) AS ends"
    )
    return last - first, last - middle


def port_answers(port: int) -> bool:
    """Return True if a process listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Baseline:
    """The baseline; see `bench.baseline`."""

    name = BASELINE
    lines = "job_logs"

    def __init__(self, servers: Servers, broker: str) -> None:
        self._folder = servers.folder
        self.database = servers.database("baseline")
        self.environ = {
            "BENCH_DATABASE": "postgresql+psycopg2://" + self.database.url.split("://", 1)[1],
            "BENCH_BROKER": servers.broker(broker),
        }
        os.environ.update(self.environ)
        from bench import baseline

        # The module reads its environment when it is loaded, so a second broker in one run reloads it.
        self._module = importlib.reload(baseline)
        self._module.Base.metadata.create_all(baseline.engine)

    def clear(self) -> None:
        self.database.value("TRUNCATE jobs, job_logs")
        with self._module.queue.connection_for_write() as connection:
            self._module.queue.amqp.queues["baseline"](connection.default_channel).declare()
            connection.default_channel.queue_purge("baseline")

    @contextmanager
    def api(self, *, is_sync: bool = False) -> Iterator[int]:
        """`is_sync`: use gunicorn's sync workers, which close each connection, instead of gthread's."""
        port = free_port()
        kind = ["-k", "sync"] if is_sync else ["-k", "gthread", "--threads", "4", "--keep-alive", "30"]
        command = ["gunicorn", "-b", f"127.0.0.1:{port}", "-w", "2", *kind, "--log-level", "warning"]
        command += ["bench.baseline:app"]
        with processes(self._folder, self.environ, command):
            until(lambda: port_answers(port))
            yield port

    @contextmanager
    def workers(self, *, children: int = 2) -> Iterator[None]:
        command = ["celery", "-A", "bench.baseline:queue", "worker", "-c", str(children), "-l", "WARNING"]
        with processes(self._folder, self.environ, [*command, "--without-gossip", "--without-mingle"]):
            yield

    def request(self, handler: str) -> bytes:
        return http.post("/jobs", json.dumps({"handler": handler, "payload": {"a": 1}}).encode(), {})

    def fill(self, jobs: int, *, handler: str = "noop") -> None:
        from sqlalchemy import insert
        from sqlalchemy.orm import Session

        ids = [f"job-{number}" for number in range(jobs)]
        with Session(self._module.engine) as session:
            rows = [{"id": each, "handler": handler, "payload": {"a": 1}} for each in ids]
            session.execute(insert(self._module.Job), rows)
            session.commit()
        for each in ids:
            self._module.run_job.delay(each)

    def finished(self) -> int:
        return int(self.database.value("SELECT count(*) FROM jobs WHERE status = 'completed'"))

    def finishing_seconds(self) -> tuple[float, float]:
        return drained_seconds(self.database, "jobs", "finished_at")

    def latencies(self) -> list[float]:
        statement = "SELECT (output->>'began')::float8 FROM jobs WHERE handler = 'mark' ORDER BY created_at"
        return [row[0] for row in self.database.rows(statement)]


class Ours:
    """AVA Jobs: API, one node, a dispatcher."""

    name = OURS
    lines = "job_lines"
    #: The prefix of a handler's worker id, and the tags of each job.
    prefix = "wkr_"
    tags: ClassVar[dict[str, str]] = {}

    def __init__(self, servers: Servers, broker: str, database: str = "ours") -> None:
        self.folder = servers.folder
        #: The process id of the API, 0 until it has been started.
        self.api_pid = 0
        self.database = servers.database(database)
        self.environ = {
            "DATABASE_URL": self.database.url,
            "BROKER_URL": servers.broker(broker),
            "AVA_INTERNAL_SECRET": SECRET,
            "AVA_HANDLERS": "bench.handlers",
            "AVA_ENCRYPTION_KEY": "b2YtdGhlLWJlbmNobWFyay1vZi10aGUtYmVuY2htYXI=",
            "AVA_LOG_LEVEL": "WARNING",
        }
        self._settings: Settings = load(self.environ)
        schema.upgrade(self._settings)
        app = make_app(self._settings)
        self._app = app
        own_database = StoreDatabase(self._settings.database_url, name="bench")
        self.publisher = Publisher(app, self._settings)
        self.jobs = Jobs(own_database, self.publisher, Control(app))
        self.caller = Caller(tenant_id="ten_bench", user_id="usr_bench", role=Role.TENANT_SYSTEM_ADMIN)
        # A node announces the workers; only then can jobs be triggered.
        with self.workers():
            pass

    def clear(self) -> None:
        self.database.value("TRUNCATE jobs, job_logs, job_tags")
        with self._app.connection_for_write() as connection, contextlib.suppress(Exception):
            connection.default_channel.queue_purge("default")

    @contextmanager
    def api(self) -> Iterator[int]:
        port = free_port()
        with processes(self.folder, self.environ, ["ava.cli.main", "api", "--port", str(port)]) as (self.api_pid,):
            until(lambda: port_answers(port))
            yield port

    @contextmanager
    def workers(self, *, children: int = 2) -> Iterator[list[int]]:
        """Run them; yields the process ids of the node and of the dispatcher."""
        self.database.value("DELETE FROM nodes")
        worker = ["ava.cli.main", "worker", "-c", str(children)]
        with processes(self.folder, self.environ, worker, ["ava.cli.main", "dispatcher"]) as pids:
            until(lambda: self.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL"))
            yield pids

    def request(self, handler: str, *, priority: int = 5) -> bytes:
        job = {"worker_id": f"{self.prefix}{handler}", "input": {"a": 1}, "priority": priority}
        body = json.dumps(job | ({"tags": self.tags} if self.tags else {})).encode()
        return http.post("/v1/ava/jobs", body, HEADERS)

    def bulk_request(self, jobs: int) -> bytes:
        """Return a request that triggers many jobs."""
        body = json.dumps({"jobs": [{"worker_id": "wkr_noop", "input": {"a": 1}}] * jobs}).encode()
        return http.post("/v1/ava/jobs/bulk", body, HEADERS)

    def fill(self, jobs: int, *, handler: str = "noop", input_json: str = '{"a":1}') -> None:
        spec = JobSpec(worker_id=f"{self.prefix}{handler}", input_json=input_json, tags_json=json.dumps(self.tags))
        for first in range(0, jobs, 1000):
            self.jobs.trigger(self.caller, [spec] * min(1000, jobs - first))

    def finished_of(self, tenant_id: str) -> int:
        """Return the number of completed jobs of a tenant."""
        statement = "SELECT count(*) FROM jobs WHERE tenant_id = %s AND status = 'completed'"
        return int(self.database.value(statement, tenant_id))

    def finished(self) -> int:
        # The tenant makes it an index range scan: observing must not slow down the system.
        statement = "SELECT count(*) FROM jobs WHERE tenant_id = 'ten_bench' AND status = 'completed'"
        return int(self.database.value(statement))

    def finishing_seconds(self) -> tuple[float, float]:
        return drained_seconds(self.database, "jobs", "completed_at")

    def latencies(self) -> list[float]:
        statement = "SELECT (output->>'began')::float8 FROM jobs WHERE worker_id = %s ORDER BY id"
        return [row[0] for row in self.database.rows(statement, f"{self.prefix}mark")]


#: A measured system.
System = Baseline | Ours


class FullOurs(Ours):
    """AVA Jobs with the features that tenants use: each job has tags and an input schema.

    There are also workers with limits and a rate (`bench.handlers`), a tenant with a limit, and a schedule.
    """

    prefix = "wkr_full_"
    tags: ClassVar[dict[str, str]] = {"team": "billing", "customer": "c-1071"}

    def __init__(self, servers: Servers, broker: str) -> None:
        super().__init__(servers, broker, f"full_{broker}")
        self.database.value(
            "INSERT INTO tenant_limits (tenant_id, max_running, updated_by) VALUES ('ten_other', 5, 'usr_bench')"
        )
        # It fires in no run of the benchmark.
        self.database.value(
            "INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
            " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)"
            " SELECT 'ten_bench', 'wkr_noop', '0 0 * * *', 'UTC', '{\"a\":1}', 5, 'allow', 'last', 3600, 0,"
            " now(), now() + interval '1 day', %s, 'usr_bench'",
            timezone_data_version(),
        )
