"""`ava start node --slots`: the command of a node with slots. It forks the node's pool and its slot processes.

It has one thread and no connection, so that it can fork at any time. It restarts dead processes; a separate process
writes the outcomes of a dead one's runs.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ava.errors import AvaError, StartError
from ava.health.port import serving
from ava.node import process_tree
from ava.node.intake import Part
from ava.node.slots.member import REPLACED, Member, read_exit_report
from ava.process.concealment import conceal, give_up_tracing
from ava.setting_values import SECRETS
from ava.settings import Settings
from ava.telemetry import logs

_log = logging.getLogger(__name__)

#: The signals for which the command waits, blocked in it but not in its forks.
_SIGNALS = (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_CHECK_SECONDS = 0.25
#: The most that one check adds to the silence of a process, because the command may have been frozen too.
_MAX_STEP_SECONDS = 1.0
#: A slot process without a liveness record for this many seconds is killed, because something in it holds the GIL.
#: Shortly afterwards its node would count as dead, and other nodes would get its runs.
_SILENT_SECONDS = 10.0
_RESTART_SECONDS = 2.0


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

    def run_pool(member: Member) -> int:
        from ava.node import node_process

        return node_process.run(
            settings, concurrency, queues, part=Part.POOL, node_id=member.node_id, on_ready=member.show_ready
        )

    def run_slots(member: Member) -> int:
        from ava.node.slots.slot_process import SlotProcess

        return SlotProcess(settings, member, queues).run()

    members = [Member(f"slot process {number + 1}", run_slots, slots) for number in range(slot_processes)]
    if concurrency != 0:
        members.insert(0, Member("pool", run_pool))
    return _Command(settings, members, on_ready).run()


class _Command:
    def __init__(self, settings: Settings, members: Sequence[Member], on_ready: Callable[[], None] | None) -> None:
        self._settings = settings
        self._members = members
        self._on_ready = on_ready
        #: The processes that write the outcomes of dead processes' runs.
        self._writers: set[int] = set()
        self._checked_at = time.monotonic()
        #: One shared byte: whether the node ends. The writers read it.
        self._ending = mmap.mmap(-1, 1)
        self._exit_code = 0

    @property
    def _is_ending(self) -> bool:
        return bool(self._ending[0])

    def run(self) -> int:
        process_tree.adopt_orphans()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # Forks do not inherit the timer. CPython's `sigtimedwait` is unusable: in a process that was stopped until
        # after the timeout, it returns a signal that was never sent.
        signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)
        while not self._is_ending or self._writers or any(member.pid for member in self._members):
            self._start_due()
            found = signal.Signals(signal.sigwaitinfo(_SIGNALS).si_signo)
            if found not in (signal.SIGCHLD, signal.SIGALRM):
                self._pass_on(found)
            self._reap()
            self._check()
        return self._exit_code

    def _start_due(self) -> None:
        for member in self._members:
            if not member.pid and not self._is_ending and time.monotonic() >= member.starts_at:
                member.renew()
                member.starts_at = time.monotonic() + _RESTART_SECONDS
                member.pid = _fork(lambda member=member: self._serve(member))  # type: ignore[misc]

    def _serve(self, member: Member) -> int:
        if member is not self._members[0]:
            return member.start(member)
        # One process of the node serves its health port, with the counters of all.
        with serving(self._settings):
            return member.start(member)

    def _pass_on(self, number: signal.Signals) -> None:
        self._ending[0] = True
        for member in self._members:
            if member.pid:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGTERM if number == signal.SIGHUP else number)

    def _reap(self) -> None:
        # At the end there may be no child left.
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                self._writers.discard(pid)
                for member in self._members:
                    if member.pid == pid:
                        member.pid = 0
                        self._handle_end(member, pid, os.waitstatus_to_exitcode(status))

    def _handle_end(self, member: Member, pid: int, code: int) -> None:
        process_tree.kill_children(keep=frozenset({*self._writers, *(each.pid for each in self._members)}))
        member.was_ready |= member.is_ready
        if not member.was_ready and not self._is_ending:
            # It cannot start, and has logged the reason.
            self._exit_code = code if code > 0 else 1
            self._pass_on(signal.SIGTERM)
            return
        if code == 0 and (self._is_ending or member.slots):
            return
        if not self._is_ending:
            how = f"signal {-code}" if code < 0 else "replaced itself" if code == REPLACED else f"exit code {code}"
            _log.warning("Node: its %s has ended (%s), and is started again", member.name, how)
        elif code:
            self._exit_code = self._exit_code or (0 if code == REPLACED else 1)
        if not member.is_ready:
            # It had no run.
            return
        node_id, report = member.node_id, member.exit_report if code == REPLACED else None
        self._writers.add(_fork(lambda: self._write_off(node_id, pid, report)))

    def _write_off(self, node_id: str, pid: int, report: bytes | None) -> int:
        from ava.node.slots.write_off import write_off

        overdue = None if report is None else read_exit_report(report)
        write_off(self._settings, node_id, pid, overdue, lambda: self._is_ending)
        return 0

    def _check(self) -> None:
        now = time.monotonic()
        passed_seconds, self._checked_at = min(now - self._checked_at, _MAX_STEP_SECONDS), now
        for member in self._members:
            if member.pid and member.check_silence(passed_seconds) > _SILENT_SECONDS:
                _log.error("Node: its %s sends no heartbeat and is killed", member.name)
                process_tree.kill_tree(member.pid)
        if self._on_ready is not None and all(member.is_ready for member in self._members):
            self._on_ready()
            self._on_ready = None


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
        # In a separate session, a Ctrl-C in the terminal reaches only the command.
        with suppress(PermissionError):
            os.setsid()
        process_tree.exit_with_parent(parent_pid)
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
