"""Faults of installations with several servers of a kind: failovers, a pooler, rolling restarts."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import kombu
import requests

from ava import settings as settings_module
from ava.broker import reset_marker
from ava.broker.celery_app import make_queue
from ava.domain import ids
from ava.domain.jobs.messages import DEFAULT_QUEUE
from ava.errors import ServerProgramMissing
from ava.local.start import free_port
from ava.store import installation
from ava.store.engine import schema
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.faults import deploys
from chaos.load import Load
from chaos.readers import Readers
from harness.polling import wait_until
from harness.servers import patroni, pgbouncer, rabbitmq
from harness.servers.patroni import running_patroni
from harness.servers.pgbouncer import running_pgbouncer
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.sentinel import running_sentinels
from harness.servers.standby import streaming_standby
from harness.system import HEADERS

#: Seconds by which an asynchronous standby lags.
_HELD_BACK_SECONDS = 2.0
#: Jobs that are replicated before the standby lags.
_REPLICATED = 20
#: Triggers per way, whose slowest hundredth is compared.
_TIMED = 300
#: Max factor by which a pool may slow down the slowest hundredth of triggers (promise of high availability).
_MAX_SLOWER = 2.0
#: Seconds until a queue without a response of RabbitMQ has been retried, every 30 s (docs/explain/recovery.md).
_UNANSWERED_SECONDS = 40
#: Reads per second, in addition to the load, while everything is restarted.
_READS_PER_SECOND = 175.0


# PostgreSQL --------------------------------------------------------------------------------------------------------


def _add_standby(cluster: Cluster) -> None:
    """Start a standby; DATABASE_URL names both servers."""
    cluster.standby = standby = cluster.servers.enter_context(streaming_standby(cluster.postgres))
    primary = urlsplit(cluster.postgres.url)
    hosts = f"{primary.netloc},{urlsplit(standby.url).netloc.rpartition('@')[2]}"
    cluster.system.database_url = primary._replace(netloc=hosts).geturl()


def _add_trailing_standby(cluster: Cluster) -> None:
    """Start a standby; only commits that ask for it wait for it."""
    _add_standby(cluster)
    assert cluster.standby
    cluster.standby.make_synchronous(waits=False)


def _add_synchronous_standby(cluster: Cluster) -> None:
    _add_standby(cluster)
    assert cluster.standby
    cluster.standby.make_synchronous()


def _fail_over(cluster: Cluster) -> Injury:
    """Kill the primary, and promote the synchronous standby at its own address."""
    cluster.postgres.kill()
    return _promote(cluster)


def _fail_over_behind(cluster: Cluster) -> Injury:
    """Kill the primary while the standby lags by some seconds, and promote the standby.

    Before and during this, a client triggers jobs with `Durability: replicated`, in addition to the load.
    """
    assert cluster.standby
    has_ended, replicated = threading.Event(), list[str | None]()
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(_trigger_replicated, cluster.load, has_ended, replicated)
        wait_until(lambda: len(replicated) >= _REPLICATED, seconds=60, what="jobs were replicated")
        cluster.standby.stop_receiving()
        time.sleep(_HELD_BACK_SECONDS)
        ended = _completed(cluster)
        cluster.postgres.kill()
        # The response of the last commit may be in transit.
        time.sleep(0.5)
        accepted, promised = {job.id for job in cluster.load.accepted}, {each for each in replicated if each}
        cluster.standby.promote()
        since = time.monotonic()
        has_ended.set()
        injury = _await_writes(cluster, since=since)
        client.result()
    known = _known(cluster)
    lost = accepted - known
    return replace(
        injury,
        uncommitted=lost,
        ended_before=ended & known,
        measured=(*injury.measured, f"{len(promised)} said replicated"),
        broken=[f"{len(lost & promised)} of them lost"] if lost & promised else (),
    )


def _trigger_replicated(load: Load, has_ended: threading.Event, replicated: list[str | None]) -> None:
    while not has_ended.is_set():
        replicated.append(load.trigger_replicated(has_ended))


def _known(cluster: Cluster) -> set[str]:
    """Return the jobs in the database."""
    return {ids.encode("job", row[0]) for row in cluster.system.query("SELECT id::text FROM jobs")}


def _promote(cluster: Cluster) -> Injury:
    assert cluster.standby
    cluster.standby.promote()
    return _await_writes(cluster, since=time.monotonic())


def _await_writes(cluster: Cluster, *, since: float) -> Injury:
    """Wait until the API accepts a trigger."""
    accepted = len(cluster.load.accepted)
    wait_until(lambda: len(cluster.load.accepted) > accepted, seconds=60, what="a trigger was accepted")
    return Injury(since=since, measured=[f"writes after {cluster.load.accepted[accepted].at - since:.1f} s"])


def _add_patroni(cluster: Cluster) -> None:
    cluster.patroni = cluster.servers.enter_context(running_patroni())
    cluster.system.database_url = cluster.patroni.url


def _switch_over(cluster: Cluster) -> Injury:
    assert cluster.patroni
    since = time.monotonic()
    cluster.patroni.switch_over()
    return _await_writes(cluster, since=since)


def _kill_leader(cluster: Cluster) -> Injury:
    """Kill the leader, and wait until Patroni has promoted the standby."""
    assert cluster.patroni
    cluster.patroni.kill_leader()
    wait_until(lambda: cluster.patroni and cluster.patroni.leader, seconds=90, what="Patroni promoted the standby")
    return _await_writes(cluster, since=time.monotonic())


def _completed(cluster: Cluster) -> set[str]:
    """Return the jobs that a client sees as completed."""
    found = cluster.system.get("/v1/ava/jobs?filter[status]=completed&per_page=100&fields=id,status").json()
    return {record["id"] for record in found["data"]}


# The pooler --------------------------------------------------------------------------------------------------------


def _add_pooler(cluster: Cluster) -> None:
    """Put PgBouncer with 20 server connections before the database."""
    pooler = cluster.servers.enter_context(running_pgbouncer(cluster.postgres.url))
    cluster.environ["DATABASE_POOL_URL"] = pooler.url_of(cluster.postgres.url)
    cluster.pooler = pooler


def _restart_pooler(cluster: Cluster) -> Injury:
    """Compare triggers through the pool with direct ones, then kill the pooler for 2 s."""
    pooled, direct = _compare(cluster)
    assert cluster.pooler
    cluster.pooler.kill()
    time.sleep(2)
    cluster.pooler.start()
    is_slower = pooled > _MAX_SLOWER * direct
    return Injury(
        since=time.monotonic(),
        measured=[f"p99 of a trigger {1000 * pooled:.0f} ms, direct {1000 * direct:.0f} ms"],
        broken=["triggers are slower through the pool"] if is_slower else (),
    )


def _compare(cluster: Cluster) -> tuple[float, float]:
    """Return the 99th percentile of a trigger's seconds through the pool, and with an API that bypasses it."""
    system, port = cluster.system, free_port()
    direct = system.spawn("api", "--host", "127.0.0.1", "--port", str(port), environ={"DATABASE_POOL_URL": ""})
    urls = system.url, f"http://127.0.0.1:{port}"
    wait_until(lambda: _is_ready(urls[1]), seconds=60, what=f"the second API is ready; see {direct.log}")
    # Alternate, so that both meet the same load of the machine.
    seconds = [[cluster.load.trigger_timed(url) for url in urls] for _ in range(_TIMED)]
    direct.terminate()
    pooled, past = (statistics.quantiles(each, n=100)[-1] for each in zip(*seconds, strict=True))
    return pooled, past


def _is_ready(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{url}/readyz", headers=HEADERS, timeout=5).ok
    return False


# The broker --------------------------------------------------------------------------------------------------------


def _add_sentinels(cluster: Cluster) -> None:
    cluster.sentinels = cluster.servers.enter_context(running_sentinels())
    cluster.system.broker_url = cluster.sentinels.url


def _kill_master(cluster: Cluster) -> Injury:
    assert cluster.sentinels
    cluster.sentinels.kill_master()
    return Injury(since=time.monotonic())


def _add_members(cluster: Cluster, *, home: int) -> None:
    """Create a RabbitMQ cluster of three; the processes connect to the second one first, and `home` has the queues."""
    first = cluster.broker
    assert isinstance(first, RabbitMQ)
    cluster.members = [first, *(cluster.servers.enter_context(first.member()) for _ in range(2))]
    settings = settings_module.load(cluster.urls)
    schema.upgrade(settings)
    own_id = installation.read_id(settings)
    # A queue lives on the server that declared it first.
    with kombu.Connection(cluster.members[home].url) as connection:
        make_queue(DEFAULT_QUEUE).bind(connection.default_channel).queue_declare()
        reset_marker.set_if_absent(connection, is_redis=False, installation=own_id)
    second, *others = (cluster.members[number].port for number in (1, 0, 2))
    cluster.system.broker_url = ";".join(
        [f"amqp://guest:guest@127.0.0.1:{second}//", *(f"amqp://127.0.0.1:{port}" for port in others)]
    )


def _kill_member(cluster: Cluster) -> Injury:
    """Kill the server that the processes are connected to."""
    cluster.members[1].kill()
    return Injury(since=time.monotonic())


def _kill_home(cluster: Cluster) -> Injury:
    """Kill the server that has the queues, for 15 s."""
    cluster.members[1].kill()
    time.sleep(15)
    cluster.members[1].start()
    return Injury(since=time.monotonic())


def _change_broker(cluster: Cluster) -> Injury:
    """Replace every process by one that uses RabbitMQ, following the runbook."""
    cluster.system.broker_url = cluster.servers.enter_context(running_rabbitmq()).url
    deploys.replace_api(cluster)
    deploys.replace_nodes(cluster)
    deploys.replace_dispatchers(cluster)
    since = time.monotonic()
    cluster.system.run("broker", "reset")
    return Injury(since=since)


# Everything --------------------------------------------------------------------------------------------------------


def _restart_all(cluster: Cluster) -> Injury:
    """Replace every process, one at a time, with concurrent readers and triggers."""
    readers = Readers(cluster.system.url, per_second=_READS_PER_SECOND)
    readers.start()
    # The rate includes requests before, during and after the replacement.
    time.sleep(2)
    deploys.replace_all(cluster, move=readers.move)
    since = time.monotonic()
    time.sleep(2)
    readers.stop()
    return Injury(since=since, broken=readers.refused, measured=[f"{readers.rate:.0f} reads a second"])


def _needs_pooler() -> str | None:
    try:
        pgbouncer.program()
    except ServerProgramMissing as missing:
        return str(missing)
    return None


def _needs_rabbitmq() -> str | None:
    try:
        rabbitmq.program()
    except ServerProgramMissing as missing:
        return str(missing)
    return None


def _in_cluster(home: int) -> Plan:
    return Plan(prepare=partial(_add_members, home=home))


FAULTS = (
    Fault(
        name="Patroni switchover",
        inject=_switch_over,
        promised_seconds=15,
        brokers=["redis"],
        plan=Plan(proxies_database=False, prepare=_add_patroni),
        impossible=patroni.missing_program,
    ),
    Fault(
        name="Patroni: the leader killed, with a synchronous standby",
        inject=_kill_leader,
        promised_seconds=15,
        brokers=["redis"],
        plan=Plan(proxies_database=False, prepare=_add_patroni),
        impossible=patroni.missing_program,
    ),
    Fault(
        name="primary killed, its synchronous standby promoted",
        inject=_fail_over,
        promised_seconds=15,
        brokers=["redis"],
        plan=Plan(proxies_database=False, prepare=_add_synchronous_standby),
    ),
    Fault(
        name="primary killed, an asynchronous standby promoted that lacks 2 s",
        inject=_fail_over_behind,
        promised_seconds=15,
        brokers=["redis"],
        plan=Plan(proxies_database=False, prepare=_add_trailing_standby),
    ),
    Fault(
        name="PgBouncer restarted, a pool of 20 with 4 nodes × 8",
        inject=_restart_pooler,
        promised_seconds=15,
        brokers=["redis"],
        plan=Plan(proxies_database=False, nodes=4, processes=8, prepare=_add_pooler),
        impossible=_needs_pooler,
    ),
    Fault(
        name="Sentinel failover",
        inject=_kill_master,
        promised_seconds=10,
        brokers=["redis"],
        plan=Plan(prepare=_add_sentinels),
    ),
    Fault(
        name="RabbitMQ: the server of three killed that the processes use",
        inject=_kill_member,
        promised_seconds=10,
        brokers=["rabbitmq"],
        plan=_in_cluster(home=0),
    ),
    Fault(
        name="RabbitMQ: the server of three killed that has the queues, back after 15 s",
        inject=_kill_home,
        promised_seconds=_UNANSWERED_SECONDS,
        brokers=["rabbitmq"],
        plan=_in_cluster(home=1),
    ),
    Fault(
        name="broker changed from Redis to RabbitMQ while running",
        inject=_change_broker,
        promised_seconds=10,
        repeats_nothing=True,
        brokers=["redis"],
        impossible=_needs_rabbitmq,
    ),
    Fault(
        name="rolling restart of everything at 200 requests/s",
        inject=_restart_all,
        promised_seconds=5,
        refuses_nothing=True,
    ),
)
