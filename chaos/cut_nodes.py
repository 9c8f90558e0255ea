"""Drop a node's, and `ava doctor`'s, packets to PostgreSQL: `python -m chaos.cut_nodes`.

A node with slots runs jobs in its own network namespace. Then the link to PostgreSQL drops all packets, and the node
gets SIGTERM or SIGQUIT, before or after its jobs have ended. It must end within its drain and grace periods, and its
jobs must run elsewhere. The broker stays reachable. Requires root on Linux, and iproute2.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from ava import settings as settings_module
from ava.local.program import ChildProcess, Program
from ava.store.engine import schema
from chaos.namespaces import BRIDGE, NETWORK, bridge, forwarded, ip, namespace
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import System

#: PostgreSQL's address on the bridge, and an unused hardware address.
_POSTGRES, _NOBODY = f"{NETWORK}.2", "02:00:00:00:00:99"
#: Max seconds until a node ends: 1 s of drain, 10 s of grace, its last writes, on a busy machine; and until `ava
#: doctor` does: 5 s for the connection, and its other checks.
_END_SECONDS, _DOCTOR_SECONDS = 30.0, 20.0
_JOB_SECONDS = 4.0
_numbers = count(31)


class _Machine:
    """A network namespace with processes that reach PostgreSQL until it is cut off."""

    def __init__(self, system: System, folder: Path, name: str, environ: dict[str, str]) -> None:
        self._system, self._folder, self._name, self._environ = system, folder, name, environ

    def start(self, *arguments: str) -> RunningProcess:
        """Start `ava` with these arguments."""
        log = self._folder / f"{self._name}-{arguments[0]}.log"
        argv = ("ip", "netns", "exec", self._name, sys.executable, "-m", "ava.cli.main", *arguments)
        program = Program(name=f"ava {arguments[0]}", argv=argv, environ={**self._system.environ, **self._environ})
        with log.open("wb") as output:
            return RunningProcess(ChildProcess.start(program, output), log)

    def cut(self) -> None:
        """Send all packets for PostgreSQL to an unused hardware address."""
        ip("-n", self._name, "neigh", "replace", _POSTGRES, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")


@contextmanager
def _machine(system: System, folder: Path, environ: dict[str, str]) -> Iterator[_Machine]:
    with namespace(next(_numbers)) as name:
        yield _Machine(system, folder, name, environ)


def _end(machine: _Machine, system: System, number: signal.Signals, *, waits: bool) -> tuple[float, str]:
    """Cut a node off and end it. Returns the seconds until it ended, and the error or ""."""
    node = machine.start("worker", "--slots", "10", "-c", "1")
    node.joins = 2
    system.workers.append(node)
    system.await_workers()
    ids = [system.trigger(f"wkr_{slug}", input={"seconds": _JOB_SECONDS})["id"] for slug in ("slot_sleep", "sleep") * 3]
    running = "SELECT count(*) FROM jobs WHERE status = 'running'"
    # The pool of one process runs one of its three jobs.
    wait_until(lambda: system.query(running) == [(4,)], what="jobs run")
    machine.cut()
    if waits:
        time.sleep(_JOB_SECONDS + 1)
    began = time.monotonic()
    node.send(number)
    ended = node.child.wait(3 * _END_SECONDS)
    seconds = time.monotonic() - began
    if not ended:
        node.kill()
    system.workers.remove(node)
    system.start_worker("--slots", "10", concurrency=1)
    statuses = {system.wait_for(job_id, seconds=90)["status"] for job_id in ids}
    system.workers.pop().terminate()
    wrong = [] if statuses == {"completed"} else [f"jobs ended as {statuses}"]
    return seconds, "; ".join(wrong + (["a traceback"] if "Traceback" in node.output else []))


def _ask_doctor(machine: _Machine) -> tuple[float, str]:
    """Run `ava doctor` cut off. Returns its seconds, and the error or ""."""
    machine.cut()
    began = time.monotonic()
    doctor = machine.start("doctor")
    doctor.wait(5 * _DOCTOR_SECONDS)
    is_named = "!!  database: DATABASE_URL: the database cannot be reached" in doctor.output
    return time.monotonic() - began, "" if is_named else doctor.output


def _rows(system: System, folder: Path, environ: dict[str, str]) -> Iterator[tuple[str, float, float, str]]:
    """Yield a name, the measured seconds, the promised seconds, and the error or ""."""
    for number in (signal.SIGTERM, signal.SIGQUIT):
        for waits in (False, True):
            with _machine(system, folder, environ) as machine:
                seconds, wrong = _end(machine, system, number, waits=waits)
            when = "after its jobs returned" if waits else "while its jobs run"
            yield f"{number.name} {when}", seconds, _END_SECONDS, wrong
    with _machine(system, folder, environ) as machine:
        seconds, wrong = _ask_doctor(machine)
        yield "ava doctor", seconds, _DOCTOR_SECONDS, wrong


def main() -> int:
    """Run all cases. Returns 0 if everything ended in time."""
    with ExitStack() as stack:
        postgres, redis = stack.enter_context(running_postgres()), stack.enter_context(running_redis())
        folder = stack.enter_context(private_folder())
        stack.enter_context(bridge())
        ip("addr", "add", f"{_POSTGRES}/24", "dev", BRIDGE)
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": redis.url}))
        system = System(folder, database_url=postgres.url, broker_url=redis.url, api_processes=1)
        stack.callback(system.stop)
        handlers = "workers,workers.sleep,tests.acceptance.slot_handlers"
        system.start(workers=0, environ={"AVA_HANDLERS": handlers, "AVA_DRAIN_SECONDS": "1"})
        urls = {"DATABASE_URL": forwarded(postgres.url, _POSTGRES), "BROKER_URL": forwarded(redis.url)}
        return _print(list(_rows(system, folder, urls)))


def _print(rows: Sequence[tuple[str, float, float, str]]) -> int:
    print("| cut from PostgreSQL | ended after | promised | kept |\n|---|---|---|---|")
    all_hold = True
    for name, seconds, promised, wrong in rows:
        holds = seconds <= promised and not wrong
        all_hold = all_hold and holds
        print(f"| {name} | {seconds:.1f} s | {promised:g} s | {'yes' if holds else f'**NO** {wrong}'} |")
    return int(not all_hold)


if __name__ == "__main__":
    sys.exit(main())
