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
from ava.domain.jobs.priority import FACTS
from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS
from ava.domain.pause import Pause
from ava.domain.record import about, as_record
from ava.domain.schedules.schedule import (
    FiringTime,
    describe,
    describe_interval,
    firing_times_after,
    multiples_after,
)

APPROVAL = (
    "The decision of persons that each job needs before its first start, unless an approval of its worker applies."
)
DEFAULT_CATCH_UP_SECONDS = 3_600

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

    worker_id: str = field(metadata=about("ID of the worker to run."))
    cron: str | None = field(
        default=None,
        metadata=about(
            "Five fields as in crontab(5): minute, hour, day of month, month, day of week; with names, `L` and "
            "`#`. If the hour does not begin with `*`, each local time fires exactly once, also when clocks "
            "change.",
        ),
    )
    timezone: str | None = field(
        default=None, metadata=about("The IANA name of the schedule's time zone, such as Europe/Berlin.")
    )
    every_seconds: int | None = field(
        default=None,
        metadata=about(
            "In place of `cron` and `timezone`: it fires at the multiples of this interval since the Unix epoch.",
            minimum=1,
            maximum=59,
            takes_null=False,
        ),
    )
    name: str | None = field(default=None, metadata=about("A display name.", longest=200))
    input_json: str = field(default="{}", metadata=about("The input of its jobs. At most 64 KiB.", payload="value"))
    priority: int = field(default=DEFAULT_PRIORITY, metadata=FACTS)
    #: False: it is paused.
    enabled: bool = True
    overlap: Overlap = field(
        default=Overlap.ALLOW,
        metadata=about(
            "The effect of a firing while the last job of this schedule is not final: `allow` creates a job, "
            "`skip` creates none, `queue_one` creates a job that starts when the last job is final (unless one is "
            "already waiting), `cancel_running` cancels the last job first.",
        ),
    )
    catch_up: CatchUp = field(
        default=CatchUp.LAST,
        metadata=about(
            "How to catch up firings that were missed because nothing could fire for more than a minute: `last` "
            "creates one job for the newest, `none` creates none, `all` creates one job for each, at most 100.",
        ),
    )
    # A week: a catch-up then has at most one firing time per minute of a week, which is listed within seconds.
    catch_up_seconds: int = field(
        default=DEFAULT_CATCH_UP_SECONDS,
        metadata=about("Missed firings older than this are not caught up.", minimum=0, maximum=7 * 24 * 3_600),
    )
    spread_seconds: int = field(
        default=0,
        metadata=about(
            "Max delay of its firings in seconds. The delay is constant and derived from the schedule's id.",
            minimum=0,
            maximum=3_600,
        ),
    )
    starts_at: datetime | None = field(default=None, metadata=about("The schedule does not fire before this time."))
    ends_at: datetime | None = field(default=None, metadata=about("The schedule does not fire from this time on."))
    expires_in_seconds: int | None = field(
        default=None,
        metadata=about(
            "Seconds from its slot until a job that has not started is cancelled. Default: the worker's.",
            minimum=1,
            maximum=MAX_EXPIRY_SECONDS,
        ),
    )
    approval_json: str | None = field(default=None, metadata=about(APPROVAL, payload="value"))

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
        metadata=about(
            "The next firing, including the delay; null if it is paused or has ended.",
        )
    )
    last_run_at: datetime | None = field(metadata=about("When it last created a job."))
    last_job_id: str | None = field(metadata=about("The last job that it created.", prefix="job"))
    created_by: Actor = field(metadata=about("The user or API key that created it."))
    created_at: datetime
    updated_at: datetime = field(metadata=about("When it was last changed or paused; a firing does not change it."))
    paused: Pause | None = None
    #: The persons who have changed its jobs or its times, as `actor.join` writes them.
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


def make_schedule_record(schedule: Schedule) -> dict[str, Any]:
    return as_record(schedule, RECORD)
