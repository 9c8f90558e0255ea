"""The slots of a process: each message is one task of the event loop, which runs its jobs one after another."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import Message
from ava.handler.errors import TooManyWaiting
from ava.node import task as celery_task
from ava.node.outcome import Retirement
from ava.node.runs.ownership_check import PAUSE_SECONDS, OwnershipCheck, needs_check
from ava.node.slots.run_context import CURRENT
from ava.node.slots.slot_claims import SlotClaims, SlotEnds, WantedRun
from ava.node.slots.slot_run import SlotRun
from ava.node.slots.slot_runs import SlotRuns

_log = logging.getLogger(__name__)


class Slots:
    """Runs arriving messages. All methods except `take` are called in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, runs: SlotRuns, claims: SlotClaims, ends: SlotEnds) -> None:
        self._loop = loop
        self._runs = runs
        self._claims = claims
        self._ends = ends
        self._ownership = OwnershipCheck()
        #: The context of a run before any variable is set in it.
        self._context = contextvars.copy_context()
        #: The sender of Celery's signals.
        self.celery_task: Any = None
        #: Messages that the loop has not processed yet.
        self._taken: deque[tuple[Message, Callable[[Retirement], None]]] = deque()
        #: Strong references, because the loop holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, message: Message, finish: Callable[[Retirement], None]) -> None:
        """Run the jobs of a message, and then call `finish` in the loop's thread. Called by a single thread."""
        self._taken.append((message, finish))
        # Wake the loop once for all messages that it has not processed.
        if len(self._taken) == 1:
            self._loop.call_soon_threadsafe(self._begin_taken)

    def _begin_taken(self) -> None:
        while self._taken:
            task = self._loop.create_task(self._run_message(*self._taken.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run_message(self, message: Message, finish: Callable[[Retirement], None]) -> None:
        last = Retirement.STOPPED
        waiting = list(message.runs)
        try:
            while len(waiting) > 1:
                task = self._loop.create_task(self._run(waiting.pop(0), message.worker_id))
                # Leave the jobs behind a long one to other slots.
                await asyncio.wait([task], timeout=run_groups.LONG_SECONDS)
                if not task.done():
                    for each in waiting:
                        self._claims.request(WantedRun(each, message.worker_id, is_recalled=True))
                    waiting = []
                last = await task
            if waiting:
                last = await self._run(waiting[0], message.worker_id)
        except Exception:
            _log.exception("Slot: a run failed unexpectedly", extra={"job_id": message.runs[0].job_id})
        finally:
            finish(last)

    async def _run(self, key: RunKey, worker_id: str) -> Retirement:
        if (run := await self._claims.request(WantedRun(key, worker_id))) is None:
            return Retirement.STOPPED
        self._runs.add(run)
        try:
            await self._ask_if_needed(run)
            context = self._context.copy()
            context.run(CURRENT.set, run)
            context.run(celery_task.send_begin, self.celery_task, run)
            await self._loop.create_task(run.call_in_loop(), context=context)
            await self._admit_wait(run)
            run.decide_end(draw=random.random())  # noqa: S311 - it spreads retries, and guards nothing
            context.run(celery_task.send_end, self.celery_task, run)
            run.end_lines()
            await self._ends.request(run)
        finally:
            self._runs.remove(run)
        return Retirement.after(run.end)

    async def _admit_wait(self, run: SlotRun) -> None:
        if run.admit_wait is None or run.stopped_for is not None:
            return
        try:
            await self._loop.run_in_executor(None, run.admit_wait)
        except TooManyWaiting as refusal:
            run.raised = refusal

    async def _ask_if_needed(self, run: SlotRun) -> None:
        """Check ownership before a handler starts long after its claim: its node may count as dead by now."""
        while needs_check(run):
            asked_ns = time.time_ns()
            if await self._loop.run_in_executor(None, self._ownership.is_answered, run, self._claims.may_begin):
                # Ask again if that took long.
                run.claim_sent_ns = asked_ns
            else:
                await asyncio.sleep(PAUSE_SECONDS)
