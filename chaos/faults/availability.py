"""Faults of installations with several servers of a kind: failovers, a pooler, rolling restarts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
from ava.store import installation
from ava.store.engine import schema
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.faults import deploys
from chaos.load import Load
from harness.polling import wait_until
from harness.servers import pgbouncer, rabbitmq
from harness.servers.pgbouncer import running_pgbouncer
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.sentinel import running_sentinels
from harness.servers.standby import streaming_standby
from harness.system import HEADERS

#: Seconds by which an asynchronous standby lags.
_HELD_BACK_SECONDS = 2.0
#: Jobs that are replicated before the standby lags.
_REPLICATED = 20
#: Seconds until a queue without a response of RabbitMQ has been retried, every 30 s (docs/explain/recovery.md).
_UNANSWERED_SECONDS = 40
#: Reads per second, in addition to the load, while everything is restarted.
_READS_PER_SECOND, _READERS = 175.0, 16


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
    """Kill the pooler for 2 s."""
    assert cluster.pooler
    cluster.pooler.kill()
    time.sleep(2)
    cluster.pooler.start()
    return Injury(since=time.monotonic())


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
    urls, has_ended = [cluster.system.url], threading.Event()
    with ThreadPoolExecutor(_READERS) as pool:
        readers = [pool.submit(_read_until, has_ended, urls) for _ in range(_READERS)]
        # Requests come before, during and after the replacement.
        time.sleep(2)
        deploys.replace_all(cluster, move=urls.append)
        since = time.monotonic()
        time.sleep(2)
        has_ended.set()
    answers = sum((each.result() for each in readers), Counter[str]())
    broken = [f"{count} × {what}" for what, count in answers.items() if what != "200"]
    return Injury(since=since, broken=broken, measured=[f"{answers['200']} reads"])


def _read_until(has_ended: threading.Event, urls: list[str]) -> Counter[str]:
    """Read from the newest URL at a steady rate. Returns the number of responses by status or error."""
    answers = Counter[str]()
    while not has_ended.wait(_READERS / _READS_PER_SECOND):
        try:
            response = requests.get(f"{urls[-1]}/v1/ava/jobs?per_page=10", headers=HEADERS, timeout=30)
            answers[str(response.status_code)] += 1
        except requests.RequestException as error:
            answers[type(error).__name__] += 1
    return answers


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
