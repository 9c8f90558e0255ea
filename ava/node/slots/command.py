"""`ava worker --slots`: the command of a node with slots. It forks the node's pool and its slot processes.

It has one thread and no connection, so that it can fork at any time. It restarts dead processes; a separate process
writes the outcomes of a dead one's runs.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ava.domain.secrets.sealing import worker_keys
from ava.errors import AvaError, StartError
from ava.health.port import serving
from ava.node import process_tree
from ava.node.intake import Part
from ava.node.slots.member import REPLACED, Member
from ava.process.concealment import conceal, give_up_tracing
from ava.setting_values import SECRETS
from ava.settings import Settings
from ava.telemetry import logs

_log = logging.getLogger(__name__)

#: The signals for which the command waits. They are blocked in it, but not in its forks.
_SIGNALS = (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_LOOK_SECONDS = 0.25
#: A slot process without a liveness record for this many seconds is killed, because something in it holds the GIL.
#: Shortly afterwards its node counts as dead, and other nodes get its runs.
_SILENT_SECONDS = 10.0
_RESTART_SECONDS = 2.0


@dataclass(eq=False)
class _NodeProcess:
    """One process of the node, across restarts."""

    name: str
    start: Callable[[Member], int]
    #: Number of runs that share it; 0 for the pool.
    slots: int = 0
    pid: int = 0
    member: Member | None = None
    starts_at: float = 0.0
    #: Whether it has ever consumed. If the first start fails, the command ends, because a setting may be wrong.
    was_ready: bool = False
    #: The last liveness record, and the number of consecutive checks without a newer one.
    sign: float = 0.0
    silent_looks: int = 0


def run(
    settings: Settings,
    concurrency: int | None,
    queues: tuple[str, ...] | None,
    *,
    slots: int,
    slot_processes: int = 1,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Run a node with slots until it is asked to end. Returns its exit code.

    `concurrency`: the number of pool processes; 0: none; None: one per CPU. `slots`: the maximum concurrent runs of
    concurrent workers in each of the `slot_processes`.
    """
    logs.configure(settings, "worker")
    conceal(SECRETS)
    give_up_tracing()
    node_processes = [
        _NodeProcess(f"slot process {number + 1}", lambda member: _run_slots(settings, member, slots, queues), slots)
        for number in range(slot_processes)
    ]
    if concurrency != 0:
        node_processes.insert(0, _NodeProcess("pool", lambda member: _run_pool(settings, member, concurrency, queues)))
    return _Command(settings, node_processes, on_ready).run()


def _run_pool(settings: Settings, member: Member, concurrency: int | None, queues: tuple[str, ...] | None) -> int:
    from ava.node import node_process

    return node_process.run(
        settings, concurrency, queues, part=Part.POOL, node_id=member.node_id, on_ready=member.show_ready
    )


def _run_slots(settings: Settings, member: Member, slots: int, queues: tuple[str, ...] | None) -> int:
    from ava.node.slots.slot_process import SlotProcess

    keys = worker_keys(settings.encryption_keys)
    reduced = replace(settings, internal_secrets=(), encryption_keys=keys, database_owner_url="")
    return SlotProcess(reduced, member, slots, queues).run()


class _Command:
    """The processes of one node."""

    def __init__(
        self, settings: Settings, node_processes: list[_NodeProcess], on_ready: Callable[[], None] | None
    ) -> None:
        self._settings = settings
        self._node_processes = node_processes
        self._on_ready = on_ready
        #: The processes that write the outcomes of dead processes' runs.
        self._writers: set[int] = set()
        self._next_look_at = 0.0
        #: One shared byte: whether the node ends. The writers read it.
        self._ending = mmap.mmap(-1, 1)
        self._exit_code = 0

    @property
    def _is_ending(self) -> bool:
        return bool(self._ending[0])

    def run(self) -> int:
        process_tree.adopt_orphans()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # Forks do not inherit the timer. CPython's `sigtimedwait` cannot be used: if the process was stopped and
        # continued until after the timeout, it returns a signal that was never sent.
        signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
        while not self._is_ending or self._writers or any(process.pid for process in self._node_processes):
            self._start_due()
            found = signal.Signals(signal.sigwaitinfo(_SIGNALS).si_signo)
            if found not in (signal.SIGCHLD, signal.SIGALRM):
                self._pass_on(found)
            self._reap()
            self._look()
        return self._exit_code

    def _start_due(self) -> None:
        for number, process in enumerate(self._node_processes):
            if process.pid or self._is_ending or time.monotonic() < process.starts_at:
                continue
            process.member, process.sign, process.silent_looks = Member(process.slots), 0.0, 0
            process.starts_at = time.monotonic() + _RESTART_SECONDS
            process.pid = _fork(lambda process=process, number=number: self._serve(process, number))  # type: ignore[misc]

    def _serve(self, process: _NodeProcess, number: int) -> int:
        assert process.member is not None
        if number > 0:
            return process.start(process.member)
        # One process of the node serves its health port, with the counters of all.
        with serving(self._settings):
            return process.start(process.member)

    def _pass_on(self, number: signal.Signals) -> None:
        self._ending[0] = True
        for process in self._node_processes:
            if process.pid:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM if number == signal.SIGHUP else number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._writers.discard(pid)
            for process in self._node_processes:
                if process.pid == pid:
                    process.pid = 0
                    self._note_end(process, pid, os.waitstatus_to_exitcode(status))

    def _note_end(self, process: _NodeProcess, pid: int, code: int) -> None:
        member = process.member
        assert member is not None
        process_tree.kill_children(keep=frozenset({*self._writers, *(each.pid for each in self._node_processes)}))
        process.was_ready |= member.is_ready
        if not process.was_ready and not self._is_ending:
            # It cannot start, and has logged the reason.
            self._exit_code = code if code > 0 else 1
            self._pass_on(signal.SIGTERM)
            return
        if code == 0 and (self._is_ending or process.slots):
            return
        if not self._is_ending:
            _log.warning("Node: its %s has ended (%s), and is started again", process.name, _describe(code))
        elif code:
            self._exit_code = self._exit_code or (0 if code == REPLACED else 1)
        self._writers.add(_fork(lambda: _write_off(self._settings, member, pid, code, lambda: self._is_ending)))

    def _look(self) -> None:
        # Signals may end the wait early.
        if (now := time.monotonic()) < self._next_look_at:
            return
        self._next_look_at = now + _LOOK_SECONDS
        for process in self._node_processes:
            member = process.member
            if not process.pid or member is None or not member.last_sign:
                continue
            process.silent_looks = process.silent_looks + 1 if member.last_sign == process.sign else 0
            process.sign = member.last_sign
            # Count checks, not time, because this process may also have been frozen.
            if process.silent_looks * _LOOK_SECONDS > _SILENT_SECONDS:
                _log.error("Node: its %s gives no sign of life, and is killed", process.name)
                process_tree.kill_tree(process.pid)
        if self._on_ready is not None and all(
            process.member and process.member.is_ready for process in self._node_processes
        ):
            self._on_ready()
            self._on_ready = None


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else "replaced itself" if code == REPLACED else f"exit code {code}"


def _write_off(settings: Settings, member: Member, pid: int, code: int, is_ending: Callable[[], bool]) -> int:
    from ava.node.slots.write_off import write_off

    late = member.read_last_word() if code == REPLACED else None
    write_off(settings, member.node_id, pid, late, is_ending)
    return 0


def _fork(act: Callable[[], int]) -> int:
    """Call `act` in a forked process, which exits with its result. Returns the pid.

    The process ends with this one: without its command it would take jobs that no signal could stop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent_pid = os.getpid()
    if pid := os.fork():
        return pid
    code = 1
    try:
        # With a separate session, a Ctrl-C in the terminal reaches only the command.
        with suppress(PermissionError):
            os.setsid()
        # Start it before the signals are unblocked, so that the main thread receives them.
        threading.Thread(target=_exit_with_parent, args=(parent_pid,), name="ava-exit-with-parent", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = act()
    except StartError as error:
        print(logs.start_error_line("worker", str(error)), file=sys.stderr)  # noqa: T201 - its log may not be set up
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except AvaError as error:
        _log.critical("%s", error)
    except BaseException:
        _log.exception("Process of the node failed")
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exit_with_parent(parent_pid: int) -> None:
    process_tree.await_parent_exit(parent_pid)
    process_tree.kill_self_and_descendants()
