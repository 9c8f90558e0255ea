"""Jobs in a database and messages in a broker, for tests of their moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import kombu
import redis

from ava.broker.celery_app import make_app
from ava.broker.publisher import Publisher
from ava.domain.jobs.job import Job, JobSpec, RunKey
from ava.domain.worker import OnWorkerLost, WorkerLimits, WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.fleet import nodes, workers
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.transitions import claim
from harness.new_jobs import make_jobs
from harness.polling import wait_until

WORKER = "wkr_test"
NODE = "01890000-0000-7000-8000-000000000001"
_NO_LIMITS = WorkerLimits()


def answers(database: Database) -> bool:
    """Return True if a database is in reach."""
    try:
        database.ping()
    except DatabaseUnavailable:
        return False
    return True


class Backlog:
    """A database with one worker, and the broker of the same settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database.of(settings, name="test")
        self.app = make_app(settings)
        self.publisher = Publisher(self.app, settings)
        with self.database.connect() as connection:
            workers.announce(connection, [worker_spec(WORKER)])

    def announce(self, worker_id: str, *, queue: str = "default", limits: WorkerLimits = _NO_LIMITS) -> None:
        """Announce a worker, as a node with its handler does."""
        with self.database.connect() as connection:
            workers.announce(connection, [worker_spec(worker_id, queue=queue, limits=limits)])

    def insert(
        self,
        count: int = 1,
        *,
        is_published: bool = False,
        worker_id: str = WORKER,
        tenant_id: str = "ten_test",
        **fields: Any,
    ) -> list[Job]:
        """Insert jobs, unpublished unless `is_published`."""
        specs = [JobSpec(worker_id=worker_id, **fields)] * count
        with self.database.connect() as connection:
            return make_jobs(connection, specs, tenant_id=tenant_id, max_published=count if is_published else 0)

    def join(
        self,
        node_id: str = NODE,
        *,
        busy: int = 0,
        free_seconds: float = 0,
        handlers: Sequence[str] = (WORKER,),
        queues: Sequence[str] = ("default",),
    ) -> None:
        """Register a live node with four processes that has started no job for some time."""
        spec = NodeSpec(
            id=node_id, name=f"n-{node_id}", host="h", pid=1, version="1", queues=queues, workers=handlers, processes=4
        )
        with self.database.connect() as connection:
            nodes.register(connection, spec)
            nodes.heartbeat(connection, node_id, busy=busy, free_seconds=free_seconds)

    def claim(self, job: Job, *, run_no: int = 1, node_id: str = NODE, claim_id: str | None = None) -> Job | None:
        """Claim a job for a node."""
        with self.database.connect() as connection:
            wanted = claim.Claim(
                run=RunKey(*job.key, run_no), worker_id=job.worker_id, node_id=node_id, claim_id=claim_id
            )
            return claim.claim(connection, wanted)

    def run(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement that no move has. Returns its rows."""
        with self.database.connect() as connection:
            found = connection.exec_driver_sql(statement, parameters)
            return [tuple(row) for row in found] if found.returns_rows else []

    def count(self, condition: str) -> int:
        """Returns the number of jobs that meet a condition."""
        return int(self.run(f"SELECT count(*) FROM jobs WHERE {condition}")[0][0])

    def closed_windows(self) -> set[str]:
        """Returns the windows that take no more messages from the API, each as `queue:priority`."""
        return {f"{queue}:{priority}" for queue, priority in self.run("SELECT queue, priority FROM closed_windows")}

    @contextmanager
    def autovacuum(self, table: str, fill: Callable[[], object]) -> Iterator[None]:
        """Let an autovacuum of a table run that lasts for hours, as that of a large one.

        `fill` writes the rows. An autovacuum of the ordinary kind could find them before and leave nothing to do.
        """
        slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
        often = "autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_insert_scale_factor = 0"
        self.run(f"ALTER TABLE {table} SET ({slow}, {often})")
        fill()
        self.run("ALTER SYSTEM SET autovacuum_naptime = 1")
        try:
            self.run("SELECT pg_reload_conf()")
            found = f"SELECT pid FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%%.{table}%%'"
            wait_until(lambda: self.run(found), seconds=60, what="no autovacuum")
            yield
        finally:
            self.run("ALTER SYSTEM RESET autovacuum_naptime")
            self.run("SELECT pg_reload_conf()")

    def rows_read(self) -> tuple[int, int]:
        """Returns the rows that were read by scans of the jobs' table and through its indexes."""
        self.run("SELECT pg_stat_force_next_flush()")
        ((from_end_to_end,),) = self.run("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'jobs'")
        ((by_index,),) = self.run("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'jobs'")
        return int(from_end_to_end), int(by_index)

    def messages(self, queue: str = "default") -> int:
        """Returns the number of messages in the broker."""
        if self.settings.broker_is_redis:
            with redis.Redis.from_url(self.settings.broker_url) as client:
                return sum(client.llen(key) for key in client.keys(f"{queue}*"))
        with kombu.Connection(self.settings.broker_url) as connection:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)

    def await_messages(self, count: int) -> None:
        """Wait until so many messages are in the broker.

        RabbitMQ answers a question about a queue before the queue has taken all messages that came earlier.
        """
        wait_until(lambda: self.messages() == count, what=lambda: f"{count} messages, there are {self.messages()}")

    def empty_broker(self) -> None:
        """Delete every message of the queue; the reset marker stays."""
        if self.settings.broker_is_redis:
            with redis.Redis.from_url(self.settings.broker_url) as client:
                client.delete(*client.keys("default*"))
        else:
            with kombu.Connection(self.settings.broker_url) as connection:
                connection.default_channel.queue_purge("default")

    def close(self) -> None:
        """Close every connection."""
        self.publisher.close()
        self.database.close()


@contextmanager
def open_backlog(settings: Settings) -> Iterator[Backlog]:
    """Open a backlog, and close it afterwards."""
    backlog = Backlog(settings)
    try:
        yield backlog
    finally:
        backlog.close()


def worker_spec(worker_id: str, *, queue: str = "default", limits: WorkerLimits = _NO_LIMITS) -> WorkerSpec:
    """Returns a worker of which nothing but its queue and limits matters."""
    return WorkerSpec(
        id=worker_id,
        name="Test",
        description="",
        timeout_seconds=60,
        max_retries=0,
        cancel_grace_seconds=1,
        queue=queue,
        tenants=None,
        on_worker_lost=OnWorkerLost.REQUEUE,
        limits=limits,
    )
