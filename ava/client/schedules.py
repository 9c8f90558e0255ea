"""Calls about schedules: `client.schedules.create(…)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import CallGroup, key_header
from ava.client.reading import read
from ava.client.records import Firing, Job, Schedule, SchedulePreview, ScheduleSlot
from ava.client.sent import segment, sent_time

_SCHEDULES = "/v1/ava/schedules"


class ScheduleOptions(TypedDict, total=False):
    """Optional fields of a schedule; the API has a default for each."""

    name: str | None
    #: The input of its jobs.
    input: Mapping[str, Any]
    #: 1 (first) to 10 (last).
    priority: int
    enabled: bool
    #: Action of a firing while the last job is not final: `allow`, `skip`, `queue_one` or `cancel_running`.
    overlap: str
    #: Missed firings to catch up: `last`, `none` or `all`.
    catch_up: str
    #: Max age of a missed firing to catch up, in seconds.
    catch_up_seconds: int
    #: Max random delay of a firing in seconds, to spread schedules that would start in the same second.
    spread_seconds: int
    starts_at: datetime | str | None
    ends_at: datetime | str | None
    #: Seconds after its slot until an unstarted job is cancelled.
    expires_in: int | None


class _ScheduleChanges(ScheduleOptions, total=False):
    worker_id: str
    cron: str
    timezone: str


class Schedules(CallGroup):
    """Calls about schedules."""

    def create(
        self,
        worker_id: str,
        cron: str,
        timezone: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Create a schedule: `cron` has five fields, `timezone` is an IANA name such as `Europe/Berlin`."""
        body = _body({"worker_id": worker_id, "cron": cron, "timezone": timezone, **options})
        headers = key_header(idempotency_key)
        return read(Schedule, self._calls.data("POST", _SCHEDULES, body=body, headers=headers))

    def next(self, schedule_id: str, count: int = 10) -> Sequence[ScheduleSlot]:
        """Return the next 1 to 50 firings of a schedule."""
        found = self._calls.data("GET", f"{_SCHEDULES}/{segment(schedule_id)}/next", params={"count": count})
        return [read(ScheduleSlot, data) for data in found]

    def list(
        self, *, worker_id: str | None = None, enabled: bool | None = None, per_page: int = 100
    ) -> Iterator[Schedule]:
        """Return the matching schedules, newest first."""
        params: dict[str, Any] = {"per_page": per_page}
        if worker_id is not None:
            params["filter[worker_id]"] = worker_id
        if enabled is not None:
            params["filter[enabled]"] = "true" if enabled else "false"
        for data in self._pages(_SCHEDULES, params):
            yield read(Schedule, data)

    def get(self, schedule_id: str) -> Schedule:
        """Return a schedule."""
        return read(Schedule, self._calls.data("GET", f"{_SCHEDULES}/{segment(schedule_id)}"))

    def change(self, schedule_id: str, **changes: Unpack[_ScheduleChanges]) -> Schedule:
        """Change fields of a schedule. Returns it with its next firing, computed from now."""
        body = _body(changes)
        return read(Schedule, self._calls.data("PATCH", f"{_SCHEDULES}/{segment(schedule_id)}", body=body))

    def pause(self, schedule_id: str) -> Schedule:
        """Disable a schedule: firings are skipped until it is resumed, and not caught up."""
        return self.change(schedule_id, enabled=False)

    def resume(self, schedule_id: str) -> Schedule:
        """Enable a schedule."""
        return self.change(schedule_id, enabled=True)

    def delete(self, schedule_id: str) -> None:
        """Delete a schedule; its jobs continue."""
        self._calls.send("DELETE", f"{_SCHEDULES}/{segment(schedule_id)}")

    def run(self, schedule_id: str, *, idempotency_key: str | None = None) -> Job:
        """Trigger a job now, with a schedule's worker, input and priority."""
        headers = key_header(idempotency_key)
        return read(Job, self._calls.data("POST", f"{_SCHEDULES}/{segment(schedule_id)}/run", headers=headers))

    def preview(self, cron: str, timezone: str, count: int = 10) -> SchedulePreview:
        """Return the pattern in words and its next 1 to 50 firings; saves nothing."""
        body = {"cron": cron, "timezone": timezone, "count": count}
        return read(SchedulePreview, self._calls.data("POST", f"{_SCHEDULES}/preview", body=body))

    def firings(self, schedule_id: str, *, per_page: int = 100) -> Iterator[Firing]:
        """Return a schedule's firings, newest first."""
        for data in self._pages(f"{_SCHEDULES}/{segment(schedule_id)}/firings", {"per_page": per_page}):
            yield read(Firing, data)


def _body(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sent_time(value) for name, value in fields.items()}
