"""A cluster for one fault: its own real servers, the whole system as real processes, and a load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import kombu
import psycopg2
import redis

from ava import settings as settings_module
from ava.domain import ids
from ava.store.engine import schema
from chaos import effects
from chaos.load import Load
from chaos.proxy import Proxy, proxy_to, through
from harness.commit_cuts import CommitCuts
from harness.running_process import RunningProcess
from harness.servers.clock import SteppedClock
from harness.servers.pgbouncer import PgBouncer
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.redis import running_redis
from harness.servers.sentinel import SentinelGroup
from harness.servers.server import Server
from harness.servers.standby import Standby
from harness.system import System

BROKERS = ("redis", "rabbitmq")

Broker = Server | RabbitMQ


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The differences of a fault's cluster from the usual one."""

    #: Additional environment variables of every process.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: Called when the servers are running, before any process starts.
    prepare: Callable[[Cluster], None] | None = None
    #: Whether PostgreSQL has its own clock, which the fault steps.
    has_clock: bool = False
    #: Whether every process reaches the broker through a proxy, which the fault cuts.
    proxies_broker: bool = False
    #: Whether the first node reaches the database through a proxy, which the fault cuts.
    proxies_database: bool = True
    #: Number of nodes, and of processes per node.
    nodes: int = 2
    processes: int = 4


class Watch:
    """Records when jobs have left the state in which a query first found them."""

    def __init__(self, system: System, statement: str, job_ids: list[str]) -> None:
        self._system = system
        self._statement = statement
        self._ids = [str(ids.decode("job", job_id)) for job_id in job_ids]
        self._runs = self._poll()
        #: The time of that on the monotonic clock; None until then.
        self.ended_at: float | None = None
        threading.Thread(target=self._keep_polling, daemon=True).start()

    def _poll(self) -> set[tuple[str, int]]:
        return {(id_, run_no) for id_, run_no in self._system.query(self._statement, self._ids)}

    def _keep_polling(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            # The fault may affect the database itself.
            with suppress(psycopg2.Error):
                if not self._runs & self._poll():
                    self.ended_at = time.monotonic()
                    return
            time.sleep(0.05)


@dataclass(kw_only=True)
class Cluster:
    """A running system with its servers, for one fault."""

    broker_name: str
    postgres: Server
    broker: Broker
    system: System
    load: Load
    effects_path: Path
    processes: int
    #: Between the first node and the database.
    proxy: Proxy
    #: Between every process and the broker; and PostgreSQL's clock; None unless the plan asks for them.
    broker_proxy: Proxy | None = None
    clock: SteppedClock | None = None
    #: Between every process and the database, if `prepare` adds it.
    commit_cuts: CommitCuts | None = None
    #: The environment of every process in addition to the plan's; `prepare` adds to it.
    environ: dict[str, str] = field(default_factory=dict)
    #: Servers that `prepare` adds; they stop after the system.
    servers: ExitStack = field(default_factory=ExitStack)
    standby: Standby | None = None
    pooler: PgBouncer | None = None
    sentinels: SentinelGroup | None = None
    members: list[RabbitMQ] = field(default_factory=list)
    #: Frozen processes, which are continued in any case.
    frozen: set[int] = field(default_factory=set)

    @property
    def urls(self) -> dict[str, str]:
        """Return the environment variables with the URLs of its servers."""
        return {"DATABASE_URL": self.system.database_url, "BROKER_URL": self.broker.url}

    # Looking -------------------------------------------------------------------------------------------------------

    def runs(self) -> dict[str, list[effects.Run]]:
        """Return the runs of each job so far."""
        return effects.runs(effects.read(self.effects_path))

    def busy(self, pids: list[int]) -> list[tuple[int, str, float]]:
        """Return which of these processes are running a handler, with the job and the start time."""
        now: dict[int, tuple[str, float]] = {}
        for effect in effects.read(self.effects_path):
            pid = int(effect.run.partition(".")[0])
            if effect.kind == "begin":
                now[pid] = (effect.job_id, effect.at)
            elif effect.kind == "done":
                now.pop(pid, None)
        return [(pid, job_id, at) for pid, (job_id, at) in now.items() if pid in pids]

    def watch(self, job_ids: list[str]) -> Watch:
        """Watch until all these jobs have left their current runs."""
        statement = "SELECT id::text, run_no FROM jobs WHERE id = ANY(%s::uuid[]) AND status = 'running'"
        return Watch(self.system, statement, job_ids)

    def watch_due(self, job_id: str) -> Watch:
        """Watch until a scheduled job may start, which requires a dispatcher."""
        statement = "SELECT id::text, run_no FROM jobs WHERE id = ANY(%s::uuid[]) AND run_at IS NOT NULL"
        return Watch(self.system, statement, [job_id])

    def begun(self, since: float, *, pids: Collection[int] | None = None) -> int:
        """Return how many handlers have begun since a time; with `pids` only in these processes."""
        found = effects.begins(self.effects_path)
        return sum(at > since and (pids is None or pid in pids) for pid, at in found)

    def held_by(self, pids: list[int]) -> list[str]:
        """Return the jobs that are running in these processes."""
        return [job_id for _, job_id, _ in self.busy(pids)]

    def next_in_broker(self, count: int) -> list[str]:
        """Return the jobs whose messages will be received next."""
        found = self.system.query(
            "SELECT id::text FROM jobs WHERE status = 'queued' AND published_at IS NOT NULL"
            " ORDER BY priority, id OFFSET 20 LIMIT %s",
            count,
        )
        return [ids.encode("job", row[0]) for row in found]

    # Breaking ------------------------------------------------------------------------------------------------------

    def pids_of(self, node: RunningProcess) -> list[int]:
        """Return a node's processes, its children first."""
        return [*(child.pid for child in node.children), node.pid]

    def freeze(self, pids: list[int]) -> None:
        """Freeze processes (SIGSTOP)."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.frozen |= set(pids)

    def thaw(self) -> None:
        """Continue all frozen processes."""
        for pid in self.frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self.frozen.clear()

    def wipe_broker(self) -> None:
        """Empty the broker while all processes are connected."""
        if isinstance(self.broker, RabbitMQ):
            with kombu.Connection(self.broker.url) as connection:
                connection.default_channel.queue_purge("default")
        else:
            with redis.Redis.from_url(self.broker.url) as connection:
                connection.flushall()

    def restart_broker_empty(self) -> None:
        """Kill the broker and start it again without its data."""
        self.broker.kill()
        if isinstance(self.broker, RabbitMQ):
            self.broker.forget()
        self.broker.start()

    def start_worker(self, *arguments: str, environ: Mapping[str, str] | None = None) -> RunningProcess:
        """Start one more node with these arguments and additional environment variables."""
        worker = self.system.spawn("worker", "-c", str(self.processes), *arguments, environ=environ)
        self.system.workers.append(worker)
        return worker


@contextmanager
def open_cluster(
    broker_name: str, folder: Path, *, jobs: int, per_second: float, plan: Plan | None = None
) -> Iterator[Cluster]:
    """Start everything according to `plan`; at the end stop it, and fail if a process is left running."""
    plan = plan or Plan()
    run_broker = running_redis if broker_name == "redis" else running_rabbitmq
    with ExitStack() as stack:
        clock = SteppedClock(folder) if plan.has_clock else None
        postgres = stack.enter_context(running_postgres(environ=clock.environ if clock else {}))
        broker = stack.enter_context(run_broker())
        broker_proxy = proxy_to(broker.url) if plan.proxies_broker else None
        broker_url = through(broker_proxy, broker.url) if broker_proxy else broker.url
        system = System(folder, database_url=postgres.url, broker_url=broker_url)
        system.expects_traceback = True  # Faults are logged with their causes.
        cluster = Cluster(
            broker_name=broker_name,
            postgres=postgres,
            broker=broker,
            system=system,
            load=Load(system.url, total=jobs, per_second=per_second),
            effects_path=folder / "effects",
            processes=plan.processes,
            proxy=proxy_to(postgres.url),
            broker_proxy=broker_proxy,
            clock=clock,
        )
        stack.push(cluster.servers)
        try:
            if plan.prepare:
                plan.prepare(cluster)
            _start(cluster, plan)
            yield cluster
        finally:
            cluster.thaw()
            proxies = [each for each in (cluster.proxy, broker_proxy) if each]
            for proxy in proxies:
                proxy.heal()
            system.stop()
            # It is still running if a fault could not be injected.
            cluster.load.stop()
            for proxy in proxies:
                proxy.close()
        system.assert_clean()


def _start(cluster: Cluster, plan: Plan) -> None:
    """Start the nodes (the first one reaches the database through the proxy), two dispatchers and the API."""
    system = cluster.system
    schema.upgrade(settings_module.load({**cluster.urls, **cluster.environ}))
    environ = {
        "AVA_HANDLERS": "chaos.handlers",
        "AVA_WORKER_CHAOS_EFFECT_FILE": str(cluster.effects_path),
        **plan.environ,
        **cluster.environ,
    }
    system.start(workers=0, dispatchers=2, environ=environ)
    through_proxy = {"DATABASE_URL": through(cluster.proxy, cluster.postgres.url)} if plan.proxies_database else {}
    for number in range(plan.nodes):
        cluster.start_worker(environ={} if number else through_proxy)
    system.await_workers()
