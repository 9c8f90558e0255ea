"""The thread that watches the event loop of a slot process, and proves to the node's command that the process is alive.

It never blocks, so it also applies the deadlines of the runs.

If the loop does not respond for a second, code without an await blocks it. The thread logs the blocking run's stack in
its log. The clocks of the other runs stop for that time, so that they lose only time.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ava.domain.jobs.job import LogLevel
from ava.metrics.counters import SLOT_LOOP_LAG_SECONDS
from ava.node.slots.run_context import CURRENT, run_of_task
from ava.node.slots.slot_run import SlotRun

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_BLOCKED_SECONDS = 1.0
#: A check this late was delayed by a freeze of the process, not by a blocked loop.
_FREEZE_SECONDS = 2.0


@dataclass(eq=False)
class _Question:
    """A probe of the loop without a response so far. Only the watch changes it, so a concurrent response is no race."""

    asked_at: float
    #: The run with code in the loop at each check since then, and the time of the first of these checks.
    suspect: SlotRun | None = None
    suspected_at: float = 0.0
    is_blocked: bool = False
    #: The run that blocks the loop, if known.
    blocker: SlotRun | None = None


class LoopWatch(threading.Thread):
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runs: Callable[[], Collection[SlotRun]],
        show_life: Callable[[], None],
        apply_deadlines: Callable[[], None],
    ) -> None:
        """`runs` returns the runs of the process; the other functions are called at each check."""
        super().__init__(name="ava-loop-watch", daemon=True)
        self._loop = loop
        self._runs = runs
        self._show_life = show_life
        self._apply_deadlines = apply_deadlines
        self._question: _Question | None = None

    def run(self) -> None:
        polled_at = time.monotonic()
        while True:
            time.sleep(_POLL_SECONDS)
            self._show_life()
            now = time.monotonic()
            try:
                self._apply_deadlines()
                self._poll(now, now - polled_at)
            except Exception:
                if self._loop.is_closed():
                    return
                # Continue: without liveness records the node's command would kill the process.
                _log.exception("Loop watch: check failed, will retry")
            polled_at = now

    def _poll(self, now: float, passed: float) -> None:
        question = self._question
        if question is None:
            self._question = _Question(asked_at=now)
            self._loop.call_soon_threadsafe(self._respond, now)
            return
        if passed > _FREEZE_SECONDS:
            question.asked_at, question.suspect = now, None
            return
        suspect = self._find_run()
        if suspect is None or suspect is not question.suspect:
            question.suspect, question.suspected_at = suspect, now
        if not question.is_blocked and now - question.asked_at >= _BLOCKED_SECONDS:
            question.is_blocked = True
            passed = now - question.asked_at
            SLOT_LOOP_LAG_SECONDS.set(passed)
        if question.is_blocked and question.blocker is None and suspect is not None:  # noqa: SIM102
            if now - question.suspected_at >= _BLOCKED_SECONDS / 2:
                question.blocker = suspect
                self._report(suspect)
        if question.is_blocked:
            self._stop_clocks(passed, question.blocker)

    def _respond(self, asked_at: float) -> None:
        SLOT_LOOP_LAG_SECONDS.set(time.monotonic() - asked_at)
        self._question = None

    def _stop_clocks(self, seconds: float, blocker: SlotRun | None) -> None:
        for run in self._runs():
            run.stalled_seconds += seconds
            if run is blocker:
                run.own_stall_seconds += seconds

    def _report(self, run: SlotRun) -> None:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = "".join(traceback.format_list(_handler_frames(frame))).rstrip()
        run.log.add(
            LogLevel.WARN,
            f"The handler blocks the event loop and has not yielded for {_BLOCKED_SECONDS:g} s. Other runs of the "
            f"process wait. Its stack:\n{stack}",
        )
        _log.warning(
            "A run of %s blocks the event loop; see the run's log", run.job.worker_id, extra={"job_id": run.job.id}
        )

    def _find_run(self) -> SlotRun | None:
        found = run_of_task(asyncio.current_task(self._loop))
        if found is not None:
            return found
        # A callback has a context but no task. Its frame is `asyncio.Handle._run`.
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame is not None:
            handle: Any = frame.f_locals.get("self") if frame.f_code.co_name == "_run" else None
            if isinstance(handle, asyncio.Handle):
                context = getattr(handle, "_context", None)
                return None if context is None else context.get(CURRENT)
            frame = frame.f_back
        return None


def _handler_frames(frame: FrameType | None) -> list[traceback.FrameSummary]:
    """Return the frames of a stack below the event loop's and this service's."""
    frames = list(traceback.extract_stack(frame)) if frame is not None else []
    ours = [number for number, each in enumerate(frames) if each.name in ("_run", "_await", "call_in_loop")]
    return frames[ours[-1] + 1 :] if ours else frames
