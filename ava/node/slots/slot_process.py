"""A slot process: the event loop of its runs in the main thread, and Celery's consumer in a thread."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

from celery import Celery
from celery.worker import state as celery_state

from ava.domain.jobs.messages import TASK
from ava.metrics.counters import ConnectionMeter
from ava.node import node_process
from ava.node import signals as node_signals
from ava.node.celery_internals import requirements
from ava.node.celery_internals.slot_pool import SlotPool
from ava.node.intake import Part
from ava.node.machine_use import memory_bytes
from ava.node.node import Node
from ava.node.outcome import MIB
from ava.node.runs.run_writer import RunWriter
from ava.node.slots import run_context
from ava.node.slots.loop_watch import LoopWatch
from ava.node.slots.member import Member, OverdueRun
from ava.node.slots.slot_claims import SlotClaims, SlotEnds, SlotLines
from ava.node.slots.slot_run import SlotRun
from ava.node.slots.slot_runs import SlotRuns
from ava.node.slots.slots import Slots
from ava.settings import Settings
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


class SlotProcess:
    """One slot process, which is registered as a separate node."""

    def __init__(self, settings: Settings, member: Member, queues: tuple[str, ...] | None) -> None:
        settings = self._settings = node_process.without_secrets(settings)
        self._member = member
        self._queues = queues
        self._loop = _new_loop()
        self._loop.set_task_factory(run_context.task_factory)
        self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, "ava-thread"))
        SlotRun.loop = self._loop
        self._runs = SlotRuns(member.node_id, self._end)
        self._node = Node(settings, member.node_id, self._runs)
        meter = ConnectionMeter("worker", _CONNECTIONS)
        self._database = Database.of(settings, name="worker", pool_size=_CONNECTIONS, wait_seconds=30, meter=meter)
        self._claims = SlotClaims(settings, self._make_writer(), self._loop)
        self._ends = SlotEnds(self._make_writer(), self._loop)
        self._run_slots = Slots(self._loop, self._runs, self._claims, self._ends)
        self._exit_code = 0
        self._has_ended = False
        #: The error that ended the consumer.
        self._error: BaseException | None = None

    def _make_writer(self) -> RunWriter:
        return RunWriter(self._database, self._member.node_id)

    def run(self) -> int:
        """Run until the process is asked to end. Returns its exit code. Raises like `node_process.run`."""
        requirements.require_tested("ava")
        app = node_process.make_checked_app(self._settings)
        sys.setswitchinterval(_SWITCH_SECONDS)
        node_signals.install_node(app, self._settings, self._node, Part.SLOTS, self._queues or (), self._start)
        app.conf.worker_pool = f"{SlotPool.__module__}:{SlotPool.__name__}"
        SlotPool.take = staticmethod(self._run_slots.take)
        self._run_slots.celery_task = app.tasks[TASK]
        consumer = threading.Thread(target=self._consume, args=(app,), name="ava-consumer", daemon=True)
        LoopWatch(self._loop, self._runs.all, self._member.show_life, self._node.run_monitor.apply_deadlines).start()
        consumer.start()
        while not self._has_ended:
            # If a handler's task raises one of these to end its process, only the loop's current iteration ends.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
        if self._runs.all():
            self._end(())
        self._claims.close()
        self._ends.close()
        tracing.stop()
        if self._error is not None:
            raise self._error
        return self._exit_code

    def _consume(self, app: Celery) -> None:
        try:
            self._exit_code = node_process.make_worker(app, self._settings, self._member.slots)()
        except BaseException as error:
            self._error = error
        finally:
            self._has_ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _start(self, consumer: Any) -> None:
        """Register the node and hand this process over to the handlers, once Celery's consumer is ready."""
        done = threading.Event()
        # Only the main thread can set signal handlers.
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
        self._node.hand_over()
        run_context.install()
        tracing.start(self._settings, "worker")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGQUIT, lambda *_: self._node.shut_down(is_cold=True))
        signal.signal(signal.SIGCONT, self._on_continued)
        done.set()

    def _watch_memory(self) -> None:
        limit = self._settings.slot_process_max_memory_mb
        pause = threading.Event()
        while (used := memory_bytes(os.getpid()) / MIB) <= limit:
            pause.wait(_MEMORY_SECONDS)
        _log.warning(
            "Slot process uses %d MiB of memory, over its limit of %d: it takes no more jobs, and is replaced when "
            "its running jobs have ended",
            used,
            limit,
        )
        celery_state.should_stop = os.EX_OK

    # The end -------------------------------------------------------------------------------------------------------

    def _on_end(self, *_: object) -> None:
        self._node.shut_down(is_cold=False)
        celery_state.should_stop = os.EX_OK

    def _on_continued(self, *_: object) -> None:
        self._database.forget_silence()
        self._runs.ask_database(self._database)

    def _end(self, overdue: Sequence[SlotRun]) -> NoReturn:
        """End this process because of runs that do not end. Called in the thread of the loop watch."""
        for run in overdue:
            _log.warning("Run has to end now: its slot process is replaced", extra={"job_id": run.job.id})
        self._ends.await_idle(_FLUSH_SECONDS)
        unended = [run for run in overdue if not run.is_ending]
        self._member.end_process(
            [
                OverdueRun(it.key, it.claim_id or "", it.began_ns, it.timeout_seconds, it.stopped_for or it.state.stop)
                for it in unended
            ]
        )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
