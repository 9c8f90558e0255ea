"""A slot process: the event loop of its runs in the main thread, and Celery's consumer in a thread."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

from celery import Celery, signals
from celery.platforms import SecurityWarning
from celery.utils.nodenames import gethostname, nodename
from celery.worker import state as celery_state

from ava.broker import connectivity, untrusted_messages
from ava.broker.celery_app import make_app
from ava.domain.jobs.messages import TASK
from ava.metrics.counters import ConnectionMeter
from ava.node import signals as node_signals
from ava.node.celery_internals import failure, requirements
from ava.node.celery_internals.slot_pool import SlotPool
from ava.node.intake import Part
from ava.node.machine_use import memory_bytes
from ava.node.node import Node
from ava.node.outcome import MIB
from ava.node.runs import breakpoints
from ava.node.runs.run_writer import RunWriter
from ava.node.slots import run_context
from ava.node.slots.loop_watch import LoopWatch
from ava.node.slots.member import LateRun, Member
from ava.node.slots.slot_claims import SlotClaims
from ava.node.slots.slot_ends import SlotEnds, SlotLines
from ava.node.slots.slot_run import SlotRun
from ava.node.slots.slot_runs import SlotRuns
from ava.node.slots.slots import Slots
from ava.settings import Settings
from ava.store import installation
from ava.store.engine import schema, timeouts
from ava.store.engine.database import Database
from ava.telemetry import tracing

_log = logging.getLogger(__name__)

#: Connections for the claims, the ends, the lines, and the journals of handlers.
_CONNECTIONS = 8
#: Threads for the statements of journals and for handlers' calls of `asyncio.to_thread`.
_THREADS = 64
#: CPython's switch interval: seconds until a thread releases the GIL to a waiting one. The consumer, the claims and the
#: ends wait for the GIL after each message and statement; with 5 ms, longer than for the servers.
_SWITCH_SECONDS = 0.0005
#: Maximum seconds for writing ends before the process ends itself.
_FLUSH_SECONDS = 1.0
_MEMORY_SECONDS = 1.0


class _SlotNode(Node):
    has_slots = True

    def prepare_processes(self, number: int) -> None:
        """Do nothing: there is no pool of processes."""


class SlotProcess:
    """One slot process, which is registered as a separate node."""

    def __init__(self, settings: Settings, member: Member, slots: int, queues: tuple[str, ...] | None) -> None:
        self._settings = settings
        self._member = member
        self._slots = slots
        self._queues = queues
        self._loop = _new_loop()
        self._loop.set_task_factory(run_context.task_factory)
        self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, "ava-thread"))
        SlotRun.loop = self._loop
        self._runs = SlotRuns(member.node_id, self._end)
        self._node = _SlotNode(settings, member.node_id, self._runs)
        meter = ConnectionMeter("worker", _CONNECTIONS)
        self._database = Database.of(settings, name="worker", pool_size=_CONNECTIONS, wait_seconds=30, meter=meter)
        self._claims = SlotClaims(settings, self._make_writer(), self._loop)
        self._ends = SlotEnds(self._make_writer(), self._loop)
        self._run_slots = Slots(self._loop, self._runs, self._claims, self._ends)
        self._exit_code = 1
        self._is_over = False
        #: The errors that ended the consumer.
        self._errors: Sequence[BaseException] = ()

    def run(self) -> int:
        """Run until the process is asked to end. Returns its exit code. Raises `StartError`."""
        requirements.require_tested("ava")
        schema.check(self._settings)
        connectivity.require_own(self._settings, installation.read_id(self._settings))
        app = make_app(self._settings, consumes=True)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._install(app)
        consumer = threading.Thread(target=self._consume, args=(app,), name="ava-consumer", daemon=True)
        LoopWatch(self._loop, self._runs.all, self._member.show_life, self._node.run_monitor.apply_deadlines).start()
        consumer.start()
        while not self._is_over:
            # If a handler's task raises one of these to end its process, only the loop's current iteration ends.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
        if self._runs.all():
            self._end(())
        self._claims.close()
        self._ends.close()
        tracing.stop()
        return self._exit_code

    def _make_writer(self) -> RunWriter:
        return RunWriter(self._database, self._member.node_id)

    # The parts -----------------------------------------------------------------------------------------------------

    def _install(self, app: Celery) -> None:
        node_signals.install_node(app, self._settings, self._node)
        app.conf.worker_pool = f"{SlotPool.__module__}:{SlotPool.__name__}"
        SlotPool.take = staticmethod(self._run_slots.take)
        self._run_slots.celery_task = app.tasks[TASK]
        receivers = {
            signals.celeryd_init: lambda **_: node_signals.prepare(
                app, self._node, self._settings, Part.SLOTS, self._queues or ()
            ),
            signals.worker_ready: lambda sender, **_: self._start(sender),
            signals.worker_shutdown: lambda **_: self._node.close(),
        }
        for each, receiver in receivers.items():
            each.connect(receiver, weak=False)

    def _consume(self, app: Celery) -> None:
        try:
            self._exit_code = self._run_worker(app)
        except SystemExit as ended:
            self._exit_code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            _log.exception("Consumer failed")
            self._exit_code = 1
        finally:
            self._is_over = True
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run_worker(self, app: Celery) -> int:
        warnings.filterwarnings("ignore", category=SecurityWarning)
        self._errors = failure.catch(app)
        worker = app.Worker(
            hostname=nodename(f"ava-{os.getpid()}", gethostname()),
            loglevel=logging.getLevelName(self._settings.log_level),
            quiet=True,
            concurrency=self._slots,
            without_mingle=True,
            without_gossip=True,
            heartbeat_interval=5,
        )
        worker.start()
        return 1 if self._errors else 0

    def _start(self, consumer: Any) -> None:
        """Register the node and hand this process over to the handlers, once Celery's consumer is ready."""
        done = threading.Event()
        # Signal handlers can only be set in the main thread.
        self._loop.call_soon_threadsafe(self._take_over, done)
        done.wait()
        node_signals.start(self._node, consumer)
        self._claims.start()
        self._ends.start()
        SlotLines(self._make_writer(), self._runs.all).start()
        if self._settings.slot_process_max_memory_mb:
            threading.Thread(target=self._watch_memory, name="ava-slot-memory", daemon=True).start()
        self._member.show_ready()

    def _take_over(self, done: threading.Event) -> None:
        untrusted_messages.allow_compressed()
        timeouts.uninstall()
        breakpoints.refuse()
        self._node.handlers_app.make_current()
        run_context.install()
        tracing.start(self._settings, "worker")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGQUIT, self._on_quit)
        signal.signal(signal.SIGCONT, self._on_continued)
        done.set()

    def _watch_memory(self) -> None:
        limit = self._settings.slot_process_max_memory_mb
        pause = threading.Event()
        while (used := memory_bytes(os.getpid()) / MIB) <= limit:
            pause.wait(_MEMORY_SECONDS)
        _log.warning(
            "Slot process has %d MiB of memory, of %d that it may have: it takes no more jobs, and is replaced once "
            "those that it has are over",
            used,
            limit,
        )
        celery_state.should_stop = os.EX_OK

    # The end -------------------------------------------------------------------------------------------------------

    def _on_end(self, *_: object) -> None:
        self._node.shut_down(is_cold=False)
        celery_state.should_stop = os.EX_OK

    def _on_quit(self, *_: object) -> None:
        self._node.shut_down(is_cold=True)

    def _on_continued(self, *_: object) -> None:
        self._database.forget_silence()
        self._runs.ask_database(self._database, self._member.node_id)

    def _end(self, late: Sequence[SlotRun]) -> NoReturn:
        """End this process because of runs that do not end. Called in the thread of the loop watch."""
        for run in late:
            _log.warning("Run has to end now: its slot process is replaced", extra={"job_id": run.job.id})
        self._ends.await_idle(_FLUSH_SECONDS)
        self._member.end_process(
            [
                LateRun(
                    run=run.key,
                    claim_id=run.claim_id or "",
                    began_ns=run.began_ns,
                    timeout_seconds=run.timeout_seconds,
                    stop=run.stopped_for or run.state.stop,
                )
                for run in late
                if not run.is_ending
            ]
        )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
