"""A stored schedule, and its record for clients and webhooks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ava.domain.access.actor import Actor
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.pause import Pause
from ava.domain.record import as_record
from ava.domain.schedules.schedule import (
    FiringTime,
    describe,
    describe_interval,
    firing_times_after,
    multiples_after,
)

DEFAULT_CATCH_UP_SECONDS = 3_600
#: A week: a catch-up then has at most one firing time per minute of a week, which is listed within seconds.
MAX_CATCH_UP_SECONDS = 7 * 24 * 3_600
MAX_SPREAD_SECONDS = 3_600

_MOMENT = timedelta(microseconds=1)


class Overlap(StrEnum):
    """The action of a firing while its schedule's last job is not final."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


class CatchUp(StrEnum):
    """Which missed firings are caught up: the newest, none, or all."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSpec:
    """A schedule as a client requests it."""

    worker_id: str
    #: Five fields, as in crontab(5); None: it has an interval.
    cron: str | None = None
    #: An IANA name, as the client wrote it; None without a pattern.
    timezone: str | None = None
    #: 1 to 59: it fires at the multiples of this interval since the Unix epoch; None: it has a pattern.
    every_seconds: int | None = None
    name: str | None = None
    #: The payload of its jobs, a serialized JSON object.
    input_json: str = "{}"
    priority: int = DEFAULT_PRIORITY
    #: False: it is paused.
    enabled: bool = True
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    #: Max age in seconds of missed firings that are caught up.
    catch_up_seconds: int = DEFAULT_CATCH_UP_SECONDS
    #: Max delay of its firings in seconds.
    spread_seconds: int = 0
    #: It fires from `starts_at` (inclusive) to `ends_at` (exclusive).
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    #: Seconds from the firing time until an unstarted job expires; None: the worker's setting.
    expires_in_seconds: int | None = None
    #: The approval of its jobs, as in `JobSpec`.
    approval_json: str | None = None

    def firing_times_after(self, after: datetime) -> Iterator[FiringTime]:
        if self.starts_at is not None and self.starts_at > after:
            after = self.starts_at - _MOMENT
        try:
            for found in self._all_after(after):
                if self.ends_at is not None and found.at >= self.ends_at:
                    return
                yield found
        except OverflowError:
            # Beyond the year 9999.
            return

    def _all_after(self, after: datetime) -> Iterator[FiringTime]:
        if self.every_seconds is not None:
            return multiples_after(self.every_seconds, after)
        return firing_times_after(self.cron or "", self.timezone or "", after)

    def describe(self) -> str:
        """Return a description of its firing times in words."""
        if self.every_seconds is not None:
            return describe_interval(self.every_seconds)
        return describe(self.cron or "", self.timezone or "")

    def first_run(self, schedule_id: str, after: datetime) -> datetime | None:
        """Return the first firing after an instant, with its delay; None if it is paused or has ended."""
        if not self.enabled:
            return None
        found = next(self.firing_times_after(after), None)
        return None if found is None else found.at + spread_delay(schedule_id, self.spread_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(ScheduleSpec):
    """A stored schedule."""

    id: str = field(metadata={"prefix": "sch"})
    tenant_id: str
    #: All firing times up to this instant have fired, were skipped or missed, or do not count.
    decided_until: datetime
    next_run_at: datetime | None = field(
        metadata={"description": "The next firing, including the delay; null if it is paused or has ended."}
    )
    last_run_at: datetime | None = field(metadata={"description": "When it last created a job."})
    last_job_id: str | None = field(metadata={"prefix": "job", "description": "The last job that it created."})
    created_by: Actor = field(metadata={"description": "The user or API key that created it."})
    created_at: datetime
    updated_at: datetime = field(
        metadata={"description": "When it was last changed or paused; a firing does not change it."}
    )
    paused: Pause | None = None
    #: The persons who have changed what it does or when, as `actor.join` writes them.
    changers: str | None = None


#: The fields of a schedule's record, in the contract's order.
RECORD = (
    "id worker_id tenant_id name cron timezone input priority enabled overlap catch_up catch_up_seconds spread_seconds "
    "starts_at ends_at next_run_at last_run_at last_job_id created_by created_at updated_at paused every_seconds "
    "approval expires_in_seconds"
)


def spread_delay(schedule_id: str, spread_seconds: int) -> timedelta:
    """Return the constant delay of a schedule's firings, from 0 to `spread_seconds`, derived from its id."""
    digest = hashlib.blake2b(schedule_id.encode(), digest_size=8).digest()
    return timedelta(milliseconds=int.from_bytes(digest) % (spread_seconds * 1000 + 1))


def format_local_time(local_time: datetime) -> str:
    """Return a local time as clients see it, such as `2026-10-25T02:30`."""
    return local_time.isoformat(timespec="minutes" if not local_time.second else "seconds")


def make_schedule_record(schedule: Schedule) -> dict[str, Any]:
    return as_record(schedule, RECORD)
