"""A schedule as it stands in the database, and its record as clients and webhooks see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.record import format_time
from ava.domain.schedules.schedule import FiringTime, firing_times_after

DEFAULT_CATCH_UP_SECONDS = 3_600
#: A week, so that the firing times of a catch-up, of which there is at most one a minute, are listed within seconds.
MAX_CATCH_UP_SECONDS = 7 * 24 * 3_600
MAX_SPREAD_SECONDS = 3_600

_MOMENT = timedelta(microseconds=1)


class Overlap(StrEnum):
    """What a firing does while the last job of its schedule is not final."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


class CatchUp(StrEnum):
    """Which of the firings that were missed are made up for: the newest, none, or all."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSpec:
    """What a client asks for."""

    worker_id: str
    #: Five fields, as in crontab(5).
    cron: str
    #: The IANA name, as the client gave it.
    timezone: str
    name: str | None = None
    #: The payload of its jobs, an object, as JSON text.
    input_json: str = "{}"
    priority: int = DEFAULT_PRIORITY
    enabled: bool = True
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    #: No missed firing that is older than this is made up for.
    catch_up_seconds: int = DEFAULT_CATCH_UP_SECONDS
    #: The most by which each of its firings is delayed.
    spread_seconds: int = 0
    #: It fires from the first moment (inclusive) to the second (exclusive).
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    #: Seconds from its slot after which an unstarted job expires; None: as its worker says.
    expires_in: int | None = None

    def firing_times_after(self, after: datetime) -> Iterator[FiringTime]:
        """Yields when it fires after an instant, in the order of the instants."""
        if self.starts_at is not None and self.starts_at > after:
            after = self.starts_at - _MOMENT
        try:
            for found in firing_times_after(self.cron, self.timezone, after):
                if self.ends_at is not None and found.at >= self.ends_at:
                    return
                yield found
        except OverflowError:
            # The year 9999 ends.
            return

    def first_run(self, schedule_id: str, after: datetime) -> datetime | None:
        """Returns when it fires for the first time after an instant; None if it is disabled or fires no more."""
        if not self.enabled:
            return None
        found = next(self.firing_times_after(after), None)
        return None if found is None else found.at + spread_delay(schedule_id, self.spread_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(ScheduleSpec):
    """A schedule as it stands in the database."""

    #: `sch_…`.
    id: str
    tenant_id: str
    #: Every firing time up to this instant has fired, was skipped or missed, or does not count.
    decided_until: datetime
    #: When it fires next, with its delay; None if it is disabled or fires no more.
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_job_id: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


def spread_delay(schedule_id: str, spread_seconds: int) -> timedelta:
    """Returns the delay of each firing of a schedule: constant, from its id alone, from 0 to `spread_seconds`."""
    digest = hashlib.blake2b(schedule_id.encode(), digest_size=8).digest()
    return timedelta(milliseconds=int.from_bytes(digest) % (spread_seconds * 1000 + 1))


def format_local_time(local_time: datetime) -> str:
    """Returns a local time as clients see it, such as `2026-10-25T02:30`."""
    return local_time.isoformat(timespec="minutes" if not local_time.second else "seconds")


def make_schedule_record(schedule: Schedule) -> dict[str, Any]:
    """Returns the record of a schedule, in the contract's order."""
    return {
        "id": schedule.id,
        "worker_id": schedule.worker_id,
        "tenant_id": schedule.tenant_id,
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "input": json.loads(schedule.input_json),
        "priority": schedule.priority,
        "enabled": schedule.enabled,
        "overlap": schedule.overlap.value,
        "catch_up": schedule.catch_up.value,
        "catch_up_seconds": schedule.catch_up_seconds,
        "spread_seconds": schedule.spread_seconds,
        "starts_at": format_time(schedule.starts_at),
        "ends_at": format_time(schedule.ends_at),
        "next_run_at": format_time(schedule.next_run_at),
        "last_run_at": format_time(schedule.last_run_at),
        "last_job_id": schedule.last_job_id,
        "created_by": schedule.created_by,
        "created_at": format_time(schedule.created_at),
        "updated_at": format_time(schedule.updated_at),
        "expires_in": schedule.expires_in,
    }
