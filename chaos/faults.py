"""The faults: what each does to a running system, and how soon the system must recover."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from unittest.mock import patch

import psycopg2

from ava import settings as settings_module
from ava.store.engine import schema
from chaos.cluster import Cluster, Watch, faketime_library
from chaos.load import LONG_SECONDS
from harness.polling import wait_until
from harness.releases import ADD_COLUMN, DROP_COLUMN, write_release
from harness.system import RunningProcess

__all__ = ["FAULTS", "Fault", "Injury", "fault_named"]

#: Seconds of jobs that outlast the time after which a node is dead.
PATIENT_SECONDS = 25.0
#: Seconds for which a recovery is awaited; the result says if it did not come.
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Injury:
    """What a fault has done."""

    #: When recovery could begin: the moment of the fault or, for an outage, of its end.
    since: float
    #: The jobs whose next start means recovery …
    jobs: Collection[str] = ()
    #: … or the affected runs, which must be rescued; without either, any ten starts mean recovery.
    watch: Watch | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which something breaks."""

    name: str
    #: Injects it, and ends it if it is an outage.
    inject: Callable[[Cluster], Injury]
    #: Seconds within which recovery is promised.
    promised_seconds: float
    #: Returns why it cannot be injected on this machine, None if it can.
    impossible: Callable[[], str | None] = lambda: None


def _kill_child(cluster: Cluster) -> Injury:
    node = cluster.system.workers[0]
    victim, jobs = _busy_child(cluster, [child.pid for child in node.children])
    watch = cluster.watch(jobs)
    since = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    return Injury(since=since, watch=watch)


def _busy_child(cluster: Cluster, pids: list[int]) -> tuple[int, list[str]]:
    """Returns a child that runs a long job, and that job."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = time.monotonic()
        for pid, job_id, began_at in cluster.busy(pids):
            if 0.5 < now - began_at < LONG_SECONDS - 1:
                return pid, [job_id]
        time.sleep(0.05)
    raise RuntimeError("No child runs a long job.")


def _node_with_patience(cluster: Cluster) -> RunningProcess:
    """Returns the first node, once it runs a job that lasts longer than it takes to declare the node dead."""
    node = cluster.system.workers[0]
    pids = [child.pid for child in node.children]
    for _ in range(10):
        job = cluster.load.trigger_one(priority=1, input={"seconds": PATIENT_SECONDS})
        wait_until(lambda job=job: job in cluster.runs(), seconds=60, what="a long job has begun")  # type: ignore[misc]
        if job in cluster.held_by(pids):
            return node
    raise RuntimeError("The node received no long job.")


def _kill_node(cluster: Cluster) -> Injury:
    """Kill a node's parent and its children, as the kernel ends a container."""
    node = cluster.system.workers[0]
    _busy_child(cluster, [child.pid for child in node.children])
    pids = cluster.pids_of(node)
    # Frozen first, so that their jobs are known for certain.
    cluster.freeze(pids)
    watch = cluster.watch(cluster.held_by(pids))
    since = time.monotonic()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    cluster.frozen.clear()
    return Injury(since=since, watch=watch)


def _kill_api(cluster: Cluster) -> Injury:
    """Kill all of the API's processes while they serve requests, and start them again at once."""
    system = cluster.system
    assert system.api
    for child in system.api.children:
        child.kill()
    system.api.kill()
    system.start_api()
    return Injury(since=time.monotonic())


def _kill_dispatcher(cluster: Cluster) -> Injury:
    """Kill the active dispatcher; a job that becomes due afterwards shows when the other one has taken over."""
    active = next(each for each in cluster.system.dispatchers if "is active now" in each.output)
    since = time.monotonic()
    active.kill()
    return _due_job(cluster, since)


def _freeze_dispatcher(cluster: Cluster) -> Injury:
    """Freeze the active dispatcher, with its connections open."""
    active = next(each for each in cluster.system.dispatchers if "is active now" in each.output)
    since = time.monotonic()
    cluster.freeze([active.pid])
    injury = _due_job(cluster, since)
    time.sleep(10)
    cluster.thaw()
    return injury


def _due_job(cluster: Cluster, since: float) -> Injury:
    """Trigger a job that is dated into the future, so that only a dispatcher can start it."""
    [[moment]] = cluster.system.query(
        "SELECT to_char(now() + interval '0.3 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS.MSOF')"
    )
    job = cluster.load.trigger_one(scheduled_at=f"{moment}:00", priority=1)
    return Injury(since=since, watch=cluster.watch_due(job))


def _wipe_broker(cluster: Cluster) -> Injury:
    jobs = cluster.next_in_broker(10)
    since = time.monotonic()
    cluster.wipe_broker()
    # The load continues at its rate meanwhile. The rest of it at once, some of it urgent and long, would be ahead of
    # these jobs if the API publishes it before the loss is detected, and their start would measure that rest.
    with suppress(AssertionError):
        wait_until(lambda: all(cluster.runs().get(job) for job in jobs), seconds=_LONGEST_WAIT_SECONDS)
    return Injury(since=since, jobs=jobs)


def _restart_broker_empty(cluster: Cluster) -> Injury:
    cluster.restart_broker_empty()
    return Injury(since=time.monotonic())


def _stop_broker(cluster: Cluster) -> Injury:
    cluster.broker.stop()
    time.sleep(30)
    cluster.broker.start()
    return Injury(since=time.monotonic())


def _kill_database(cluster: Cluster) -> Injury:
    cluster.postgres.kill()
    time.sleep(20)
    cluster.postgres.start()
    return Injury(since=time.monotonic())


def _make_read_only(cluster: Cluster) -> Injury:
    """Make the database read-only for longer than a node may be silent, as a demoted primary is."""
    with cluster.postgres.read_only():
        time.sleep(20)
    return Injury(since=time.monotonic())


def _stop_both(cluster: Cluster) -> Injury:
    cluster.postgres.kill()
    cluster.broker.kill()
    time.sleep(15)
    cluster.broker.start()
    cluster.postgres.start()
    return Injury(since=time.monotonic())


def _freeze_node(cluster: Cluster) -> Injury:
    """Freeze a whole node for 40 s, so that it loses its jobs, and then continue it."""
    node = _node_with_patience(cluster)
    pids = cluster.pids_of(node)
    since = time.monotonic()
    cluster.freeze(pids)
    watch = cluster.watch(cluster.held_by(pids))
    time.sleep(40)
    cluster.thaw()
    return Injury(since=since, watch=watch)


def _freeze_parent(cluster: Cluster) -> Injury:
    """Freeze only the parent of a node: its children go on without it, and nothing is to be repeated."""
    node = _node_with_patience(cluster)
    since = time.monotonic()
    cluster.freeze([node.pid])
    time.sleep(40)
    cluster.thaw()
    return Injury(since=since)


def _cut_database(cluster: Cluster) -> Injury:
    """Cut the first node off from the database for 40 s; everything else goes on."""
    node = _node_with_patience(cluster)
    since = time.monotonic()
    cluster.proxy.cut()
    watch = cluster.watch(cluster.held_by(cluster.pids_of(node)))
    time.sleep(40)
    cluster.proxy.heal()
    return Injury(since=since, watch=watch)


def _skew_clock(cluster: Cluster) -> Injury:
    """Start a node and a dispatcher whose clock is an hour ahead, and kill the others."""
    library = faketime_library()
    assert library
    environ = {"LD_PRELOAD": library, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    old_worker, *old_dispatchers = [cluster.system.workers[0], *cluster.system.dispatchers]
    cluster.start_worker(environ=environ)
    cluster.system.dispatchers.append(cluster.system.spawn("dispatcher", environ=environ))
    cluster.system.await_workers()
    since = time.monotonic()
    for process in (old_worker, *old_dispatchers):
        process.kill()
    return _due_job(cluster, since)


def _drop_handler(cluster: Cluster) -> Injury:
    """Replace all nodes by one without the load's handler, and start one that has it after 10 s."""
    _stop_nodes(cluster)
    cluster.start_worker(environ={"AVA_HANDLERS": "workers"})
    time.sleep(10)
    return _start_node(cluster)


def _move_worker(cluster: Cluster) -> Injury:
    """Replace all nodes by one whose handler names another queue, and which consumes that one alone."""
    _stop_nodes(cluster)
    return _start_node(cluster, "-q", "elsewhere", environ={"CHAOS_QUEUE": "elsewhere"})


def _migrate_behind_reader(cluster: Cluster) -> Injury:
    """Migrate to a newer release while a transaction reads the jobs for 15 s, then start one more node of this one."""
    folder = cluster.effects_path.parent / "newer_release"
    write_release(folder, (ADD_COLUMN, DROP_COLUMN, schema.revisions()[-1]))
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass AND NOT granted"
    reader = psycopg2.connect(cluster.postgres.url)
    with patch.object(schema, "_MIGRATIONS", folder), ThreadPoolExecutor(1) as pool:
        reader.cursor().execute("SELECT count(*) FROM jobs")
        upgrade = pool.submit(schema.upgrade, settings_module.load(cluster.urls))
        wait_until(lambda: cluster.system.query(waiting) != [(0,)])
        since = time.monotonic()
        time.sleep(15)
        reader.close()
        upgrade.result()
    cluster.start_worker()
    cluster.system.await_workers()
    return Injury(since=since)


def _stop_nodes(cluster: Cluster) -> None:
    for node in cluster.system.workers:
        node.send(signal.SIGQUIT)
    for node in cluster.system.workers:
        node.wait()
    cluster.system.workers.clear()


def _start_node(cluster: Cluster, *arguments: str, environ: Mapping[str, str] | None = None) -> Injury:
    cluster.start_worker(*arguments, environ=environ)
    cluster.system.await_workers()
    return Injury(since=time.monotonic())


def _no_faketime() -> str | None:
    return None if faketime_library() else "libfaketime is missing; apt-get install faketime"


FAULTS = (
    Fault(name="kill -9 of a child", inject=_kill_child, promised_seconds=2),
    Fault(name="kill -9 of a node", inject=_kill_node, promised_seconds=15),
    Fault(name="kill -9 of the API in the middle of requests", inject=_kill_api, promised_seconds=10),
    Fault(name="kill -9 of the active dispatcher", inject=_kill_dispatcher, promised_seconds=5),
    Fault(name="the active dispatcher frozen for 10 s", inject=_freeze_dispatcher, promised_seconds=5),
    Fault(name="broker wiped", inject=_wipe_broker, promised_seconds=10),
    Fault(name="broker killed and restarted empty", inject=_restart_broker_empty, promised_seconds=10),
    Fault(name="broker stopped for 30 s", inject=_stop_broker, promised_seconds=10),
    Fault(name="PostgreSQL killed, back after 20 s", inject=_kill_database, promised_seconds=10),
    Fault(name="PostgreSQL read-only for 20 s", inject=_make_read_only, promised_seconds=10),
    Fault(name="both killed, back after 15 s", inject=_stop_both, promised_seconds=10),
    Fault(name="a node frozen for 40 s (zombie)", inject=_freeze_node, promised_seconds=15),
    Fault(name="a node's parent alone frozen for 40 s", inject=_freeze_parent, promised_seconds=15),
    Fault(name="a node cut from the database for 40 s", inject=_cut_database, promised_seconds=15),
    Fault(name="a handler gone for 10 s", inject=_drop_handler, promised_seconds=5),
    Fault(name="a worker moved to another queue", inject=_move_worker, promised_seconds=5),
    Fault(name="a migration behind a reader of 15 s", inject=_migrate_behind_reader, promised_seconds=5),
    Fault(name="a host's clock an hour ahead", inject=_skew_clock, promised_seconds=15, impossible=_no_faketime),
)


def fault_named(name: str) -> Fault:
    """Returns the fault of that name."""
    return next(fault for fault in FAULTS if fault.name == name)
