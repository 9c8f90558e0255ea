"""What is done to a running system: each fault, and what it must recover from, and how soon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from chaos.arena import Arena, Watch, faketime_library
from chaos.load import LONG_SECONDS
from harness.polling import wait_until
from harness.system import RunningProcess

__all__ = ["FAULTS", "Fault", "Injury", "fault_named"]

#: Seconds of jobs that outlast the time after which a node is dead.
PATIENT_SECONDS = 25.0
#: Seconds after which a recovery that has not come is not waited for any more; the verdict says so.
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Injury:
    """What a fault has done."""

    #: When recovery could begin: the moment of the fault or, of an outage, of its end.
    since: float
    #: The jobs whose next start tells that it is over …
    jobs: Collection[str] = ()
    #: … or the runs that were struck, which must be taken back; without either, any ten starts tell it.
    watch: Watch | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which something breaks."""

    name: str
    #: Does it, and undoes it where it is one that ends.
    strike: Callable[[Arena], Injury]
    #: Seconds within which recovery is promised.
    promised_seconds: float
    #: Why it cannot be done on this machine; None where it can.
    impossible: Callable[[], str | None] = lambda: None


def _kill_child(arena: Arena) -> Injury:
    node = arena.system.workers[0]
    victim, jobs = _busy_child(arena, [child.pid for child in node.children])
    watch = arena.watch(jobs)
    since = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    return Injury(since=since, watch=watch)


def _busy_child(arena: Arena, pids: list[int]) -> tuple[int, list[str]]:
    """A child in the midst of a long job, and that job."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = time.monotonic()
        for pid, job_id, began_at in arena.busy(pids):
            if 0.5 < now - began_at < LONG_SECONDS - 1:
                return pid, [job_id]
        time.sleep(0.05)
    raise RuntimeError("No child runs a long job.")


def _node_with_patience(arena: Arena) -> RunningProcess:
    """The first node, in the midst of jobs that last longer than it takes to declare it dead."""
    node = arena.system.workers[0]
    pids = [child.pid for child in node.children]
    for _ in range(10):
        job = arena.load.trigger_one(priority=1, input={"seconds": PATIENT_SECONDS})
        wait_until(lambda job=job: job in arena.attempts(), seconds=60, what="a job that lasts has begun")  # type: ignore[misc]
        if job in arena.held_by(pids):
            return node
    raise RuntimeError("The node was given no job that lasts.")


def _kill_node(arena: Arena) -> Injury:
    """The node's parent dies, and its children with it, as the kernel would end a container."""
    node = arena.system.workers[0]
    _busy_child(arena, [child.pid for child in node.children])
    pids = arena.pids_of(node)
    # Stopped first, so that what they hold is known for certain.
    arena.freeze(pids)
    watch = arena.watch(arena.held_by(pids))
    since = time.monotonic()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    arena.frozen.clear()
    return Injury(since=since, watch=watch)


def _kill_api(arena: Arena) -> Injury:
    """All of the API's processes die while they answer; they are started again at once."""
    system = arena.system
    assert system.api
    for child in system.api.children:
        child.kill()
    system.api.kill()
    system.start_api()
    return Injury(since=time.monotonic())


def _kill_dispatcher(arena: Arena) -> Injury:
    """The active dispatcher dies; what is due afterwards tells when the other one has taken over."""
    active = next(each for each in arena.system.dispatchers if "is active now" in each.output)
    since = time.monotonic()
    active.kill()
    return _due_job(arena, since)


def _freeze_dispatcher(arena: Arena) -> Injury:
    """The active dispatcher stops where it is, with its connections open."""
    active = next(each for each in arena.system.dispatchers if "is active now" in each.output)
    since = time.monotonic()
    arena.freeze([active.pid])
    injury = _due_job(arena, since)
    time.sleep(10)
    arena.thaw()
    return injury


def _due_job(arena: Arena, since: float) -> Injury:
    """A job that is dated into the future, so that only a dispatcher can start it."""
    [[moment]] = arena.system.query("SELECT to_char(now() + interval '0.3 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS.MSOF')")
    job = arena.load.trigger_one(scheduled_at=f"{moment}:00", priority=1)
    return Injury(since=since, watch=arena.watch_due(job))


def _wipe_broker(arena: Arena) -> Injury:
    jobs = arena.next_in_broker(10)
    since = time.monotonic()
    arena.wipe_broker()
    # The load goes on meanwhile as it was. All of its rest at once, some of it urgent and long, would be ahead of these
    # where the API publishes it before the loss is noticed; then their start would tell how long that rest takes.
    with suppress(AssertionError):
        wait_until(lambda: all(arena.attempts().get(job) for job in jobs), seconds=_LONGEST_WAIT_SECONDS)
    return Injury(since=since, jobs=jobs)


def _restart_broker_empty(arena: Arena) -> Injury:
    arena.restart_broker_empty()
    return Injury(since=time.monotonic())


def _stop_broker(arena: Arena) -> Injury:
    arena.broker.stop()
    time.sleep(30)
    arena.broker.start()
    return Injury(since=time.monotonic())


def _kill_database(arena: Arena) -> Injury:
    arena.postgres.kill()
    time.sleep(20)
    arena.postgres.start()
    return Injury(since=time.monotonic())


def _stop_both(arena: Arena) -> Injury:
    arena.postgres.kill()
    arena.broker.kill()
    time.sleep(15)
    arena.broker.start()
    arena.postgres.start()
    return Injury(since=time.monotonic())


def _freeze_node(arena: Arena) -> Injury:
    """All of a node stands still for 40 s, loses its jobs, and then goes on as if nothing had been."""
    node = _node_with_patience(arena)
    pids = arena.pids_of(node)
    since = time.monotonic()
    arena.freeze(pids)
    watch = arena.watch(arena.held_by(pids))
    time.sleep(40)
    arena.thaw()
    return Injury(since=since, watch=watch)


def _freeze_parent(arena: Arena) -> Injury:
    """Only the parent of a node stands still: its children go on without it, and nothing is to be repeated."""
    node = _node_with_patience(arena)
    since = time.monotonic()
    arena.freeze([node.pid])
    time.sleep(40)
    arena.thaw()
    return Injury(since=since)


def _cut_database(arena: Arena) -> Injury:
    """Nothing passes between the first node and the database, for 40 s; all else goes on."""
    node = _node_with_patience(arena)
    since = time.monotonic()
    arena.proxy.cut()
    watch = arena.watch(arena.held_by(arena.pids_of(node)))
    time.sleep(40)
    arena.proxy.heal()
    return Injury(since=since, watch=watch)


def _skew_clock(arena: Arena) -> Injury:
    """A node and a dispatcher whose host is an hour ahead join, and all others of their kind leave."""
    library = faketime_library()
    assert library
    environ = {"LD_PRELOAD": library, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    old_worker, *old_dispatchers = [arena.system.workers[0], *arena.system.dispatchers]
    arena.start_worker(environ=environ)
    arena.system.dispatchers.append(arena.system.spawn("dispatcher", environ=environ))
    arena.system.await_workers()
    since = time.monotonic()
    for process in (old_worker, *old_dispatchers):
        process.kill()
    return _due_job(arena, since)


def _no_faketime() -> str | None:
    return None if faketime_library() else "libfaketime is missing; apt-get install faketime"


FAULTS = (
    Fault(name="kill -9 of a child", strike=_kill_child, promised_seconds=2),
    Fault(name="kill -9 of a node", strike=_kill_node, promised_seconds=15),
    Fault(name="kill -9 of the API in the middle of requests", strike=_kill_api, promised_seconds=10),
    Fault(name="kill -9 of the active dispatcher", strike=_kill_dispatcher, promised_seconds=5),
    Fault(name="the active dispatcher frozen for 10 s", strike=_freeze_dispatcher, promised_seconds=5),
    Fault(name="broker wiped", strike=_wipe_broker, promised_seconds=10),
    Fault(name="broker killed and restarted empty", strike=_restart_broker_empty, promised_seconds=10),
    Fault(name="broker stopped for 30 s", strike=_stop_broker, promised_seconds=10),
    Fault(name="PostgreSQL killed, back after 20 s", strike=_kill_database, promised_seconds=10),
    Fault(name="both killed, back after 15 s", strike=_stop_both, promised_seconds=10),
    Fault(name="a node frozen for 40 s (zombie)", strike=_freeze_node, promised_seconds=15),
    Fault(name="a node's parent alone frozen for 40 s", strike=_freeze_parent, promised_seconds=15),
    Fault(name="a node cut from the database for 40 s", strike=_cut_database, promised_seconds=15),
    Fault(name="a host's clock an hour ahead", strike=_skew_clock, promised_seconds=15, impossible=_no_faketime),
)


def fault_named(name: str) -> Fault:
    """The fault of that name."""
    return next(fault for fault in FAULTS if fault.name == name)
