"""Where a fault happens: real servers of its own, the whole system as real processes, and a load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import psycopg2
import redis

from ava import settings as settings_module
from ava.domain import ids
from ava.store.engine import schema
from chaos import effects
from chaos.load import Load
from chaos.proxy import Proxy
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.redis import running_redis
from harness.servers.server import Server
from harness.system import RunningProcess, System

__all__ = ["Arena", "open_arena"]

Broker = Server | RabbitMQ

_FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


class Watch:
    """Notes when jobs have left the state in which a query found them first."""

    def __init__(self, system: System, statement: str, job_ids: list[str]) -> None:
        self._system = system
        self._statement = statement
        self._ids = [str(ids.decode("job", job_id)) for job_id in job_ids]
        self._runs = self._look()
        #: When it was, on the machine's stopwatch.
        self.over_at: float | None = None
        threading.Thread(target=self._keep_looking, daemon=True).start()

    def _look(self) -> set[tuple[str, int]]:
        return {(id_, run_no) for id_, run_no in self._system.query(self._statement, self._ids)}

    def _keep_looking(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            # The database itself may be what is broken.
            with suppress(psycopg2.Error):
                if not self._runs & self._look():
                    self.over_at = time.monotonic()
                    return
            time.sleep(0.05)


@dataclass(kw_only=True)
class Arena:
    """One running system with its servers, for one fault."""

    broker_name: str
    postgres: Server
    broker: Broker
    system: System
    load: Load
    effects_path: Path
    #: Between the first node and the database.
    proxy: Proxy
    #: Processes that are frozen, to be continued whatever happens.
    frozen: set[int] = field(default_factory=set)

    # Looking -------------------------------------------------------------------------------------------------------

    def attempts(self) -> dict[str, list[effects.Attempt]]:
        """What has run so far."""
        return effects.attempts(effects.read(self.effects_path))

    def busy(self, pids: list[int]) -> list[tuple[int, str, float]]:
        """Which of these processes run a handler now, of which job, and since when."""
        now: dict[int, tuple[str, float]] = {}
        for effect in effects.read(self.effects_path):
            pid = int(effect.attempt.partition(".")[0])
            if effect.kind == "begin":
                now[pid] = (effect.job_id, effect.at)
            elif effect.kind == "done":
                now.pop(pid, None)
        return [(pid, job_id, at) for pid, (job_id, at) in now.items() if pid in pids]

    def watch(self, job_ids: list[str]) -> Watch:
        """Find out when these jobs have all left the runs in which they are."""
        statement = "SELECT id::text, run_no FROM jobs WHERE id = ANY(%s::uuid[]) AND status = 'running'"
        return Watch(self.system, statement, job_ids)

    def watch_due(self, job_id: str) -> Watch:
        """Find out when a job that waits for its time may start: only a dispatcher lets it."""
        statement = "SELECT id::text, run_no FROM jobs WHERE id = ANY(%s::uuid[]) AND run_at IS NOT NULL"
        return Watch(self.system, statement, [job_id])

    def held_by(self, pids: list[int]) -> list[str]:
        """The jobs that run in these processes at this moment."""
        return [job_id for _, job_id, _ in self.busy(pids)]

    def next_in_broker(self, count: int) -> list[str]:
        """The jobs whose messages are the next to be heard."""
        found = self.system.query(
            "SELECT id::text FROM jobs WHERE status = 'queued' AND published_at IS NOT NULL"
            " ORDER BY priority, id OFFSET 20 LIMIT %s",
            count,
        )
        return [ids.encode("job", row[0]) for row in found]

    # Breaking ------------------------------------------------------------------------------------------------------

    def pids_of(self, node: RunningProcess) -> list[int]:
        """A node's processes, its children first."""
        return [*(child.pid for child in node.children), node.pid]

    def freeze(self, pids: list[int]) -> None:
        """Stop processes where they are."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.frozen |= set(pids)

    def thaw(self) -> None:
        """Let frozen processes go on."""
        for pid in self.frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self.frozen.clear()

    def wipe_broker(self) -> None:
        """Empty the broker while everybody is attached."""
        if isinstance(self.broker, RabbitMQ):
            with kombu.Connection(self.broker.url) as connection:
                connection.default_channel.queue_purge("default")
        else:
            with redis.Redis.from_url(self.broker.url) as connection:
                connection.flushall()

    def restart_broker_empty(self) -> None:
        """Kill the broker and start it again with nothing in it."""
        self.broker.kill()
        if isinstance(self.broker, RabbitMQ):
            self.broker.forget()
        self.broker.start()

    def start_worker(self, *, environ: Mapping[str, str] | None = None) -> RunningProcess:
        """Start one more node, in an environment of its own."""
        worker = self.system.spawn("worker", "-c", "4", environ=environ)
        self.system.workers.append(worker)
        return worker


@contextmanager
def open_arena(
    broker_name: str, folder: Path, *, jobs: int, per_second: float, environ: Mapping[str, str] | None = None
) -> Iterator[Arena]:
    """Start everything, with this environment on top; at the end stop it, and fail where anything is left running."""
    run_broker = running_redis if broker_name == "redis" else running_rabbitmq
    with running_postgres() as postgres, run_broker() as broker:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": broker.url}))
        parts = urlsplit(postgres.url)
        proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
        system = System(folder, database_url=postgres.url, broker_url=broker.url)
        system.expects_traceback = True  # Faults are told with their causes.
        path = folder / "effects"
        arena = Arena(
            broker_name=broker_name,
            postgres=postgres,
            broker=broker,
            system=system,
            load=Load(system.url, total=jobs, per_second=per_second),
            effects_path=path,
            proxy=proxy,
        )
        try:
            _start(
                arena,
                environ or {},
                parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl(),
            )
            yield arena
        finally:
            arena.thaw()
            proxy.heal()
            system.stop()
            proxy.close()
        system.assert_clean()


def _start(arena: Arena, more: Mapping[str, str], proxied_url: str) -> None:
    """Two nodes of four processes, of which the first reaches the database through the proxy; two dispatchers."""
    environ = {
        "AVA_WORKERS": "chaos.handlers",
        "AVA_WORKER_CHAOS_EFFECT_FILE": str(arena.effects_path),
        **more,
    }
    arena.system.start(workers=0, dispatchers=2, environ=environ)
    arena.start_worker(environ={"DATABASE_URL": proxied_url})
    arena.start_worker()
    arena.system.await_workers()


def faketime_library() -> str | None:
    """Where libfaketime is; None where it is not."""
    return next((path for path in _FAKETIME if Path(path).exists()), None)
