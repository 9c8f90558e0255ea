"""Looks that stay brief while a snapshot is held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ava.domain.jobs.job import Job
from ava.domain.jobs.pull import is_pulled
from ava.store.engine.database import Connection
from ava.store.jobs.feed import looks
from ava.store.jobs.feed.looks import Look, ScanFloor
from ava.store.jobs.rows import job_uuid

#: A complete look that takes longer is slow, in seconds; normally it takes about one millisecond.
_SLOW_SECONDS = 0.05
#: So many slow complete looks in a row are not the machine's chance.
_SLOW_LOOKS = 3
#: A slow complete look is repeated after so many times its duration, and after so many seconds at most.
_PAUSE_FACTOR = 10
_MAX_PAUSE_SECONDS = 10.0
#: A look at known windows is worth its while if it takes less than this share of a complete one.
_MAX_SHARE = 0.5
#: Windows that are known while they have no jobs.
_MAX_KNOWN = 1000
#: With more known windows of pulled jobs than this only complete looks read them, because tenants make as many as they
#: like.
_MAX_PULLED = 200


class KnownWindows:
    """Reads looks: of everything, or of known windows from where their jobs began at the look before.

    While a snapshot is held (by a dump, say), PostgreSQL cannot remove the index entries of jobs that have moved on,
    and a complete look passes all of them. Once complete looks are slow, they become rare, and those in between cost
    what waits. These miss windows that never had a job, and older jobs that have come back unless `see_returned` or
    `see_admitted` is called.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], ScanFloor] = {}
        self._slow = 0
        self._complete_seconds = 0.0
        self._complete_at = float("-inf")
        self._has_returned = threading.Event()

    def see_returned(self) -> None:
        """Make the next look complete, because jobs have come back. Any thread may call it."""
        self._has_returned.set()

    def see_admitted(self, jobs: Iterable[Job]) -> None:
        """Let the next look begin before these jobs, which may be older than those that wait."""
        for job in jobs:
            key, job_id = (job.queue, job.priority), job_uuid(job.id)
            if (known := self._known.get(key)) is None or job_id is None:
                self.see_returned()
            elif known.job_id is not None and job_id < known.job_id:
                self._known[key] = replace(known, job_id=job_id)

    def read(self, connection: Connection, **parameters: Any) -> Look:
        """Returns a look; `parameters` are those of `looks.read`."""
        began = time.monotonic()
        if began < self._complete_at and not self._has_returned.is_set():
            return self._read_known(connection, **parameters)
        self._has_returned.clear()
        look = looks.read(connection, **parameters)
        self._judge(time.monotonic() - began)
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._learn(look)
        return look

    def _read_known(self, connection: Connection, **parameters: Any) -> Look:
        has_begun = all(known.job_id is not None for known in self._known.values())
        began = time.monotonic()
        pulled = {key for key in self._known if is_pulled(key[0])}
        leaves_out = len(pulled) > _MAX_PULLED
        known = {key: floor for key, floor in self._known.items() if not (leaves_out and key in pulled)}
        look = looks.read_known(connection, known, **parameters)
        # If the server is far away or busy, and no entry is in the way, such a look is as slow as a complete one.
        if has_begun and time.monotonic() - began > self._complete_seconds * _MAX_SHARE:
            self._slow, self._complete_at = 0, float("-inf")
        self._learn(look)
        waiting = [window for window in look.windows if window.published or window.has_backlog]
        return replace(look, windows=waiting, is_complete=not leaves_out)

    def _judge(self, seconds: float) -> None:
        """Decide after a complete look when the next one is due."""
        self._complete_seconds = seconds
        self._slow = self._slow + 1 if seconds > _SLOW_SECONDS else 0
        pause = min(seconds * _PAUSE_FACTOR, _MAX_PAUSE_SECONDS) if self._slow >= _SLOW_LOOKS else 0.0
        self._complete_at = time.monotonic() + pause

    def _learn(self, look: Look) -> None:
        for window in look.windows:
            if window.floor is not None:
                self._known[window.queue, window.priority] = window.floor
