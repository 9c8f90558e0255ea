"""Calls about schedules: `client.schedules.create(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import PausableResource, flag, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.reading import read
from ava.client.records import Firing, Job, Schedule, SchedulePreview, ScheduleSlot
from ava.client.sent import segment, sent_time

_SCHEDULES = "/v1/ava/schedules"


class ScheduleOptions(TypedDict, total=False):
    """Optional fields of a schedule; the API has a default for each."""

    #: 1 to 59, in place of `cron` and `timezone`: it fires at the multiples of this interval.
    every_seconds: int
    name: str | None
    #: The input of its jobs.
    input: Mapping[str, Any]
    #: 1 (first) to 10 (last).
    priority: int
    enabled: bool
    #: True: create it paused; `pause` and `resume` change it.
    paused: bool
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
    expires_in_seconds: int | None
    #: `{"title": …, "when": …}`: the decision that each job needs before its first start.
    approval: Mapping[str, Any] | None


class _ScheduleChanges(ScheduleOptions, total=False):
    worker_id: str
    cron: str
    timezone: str


class Schedules(PausableResource[Mode, Schedule]):
    """Calls about schedules. Firings of a paused schedule are skipped, and not caught up."""

    _kind, _path = Schedule, _SCHEDULES

    @call
    def create(
        self,
        worker_id: str,
        cron: str | None = None,
        timezone: str | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Flow[Schedule]:
        """Create a schedule: `cron` has five fields, `timezone` is an IANA name such as `Europe/Berlin`.

        `every_seconds` replaces both.
        """
        body = _body({"worker_id": worker_id, **_timing(cron, timezone), **options})
        headers = key_header(idempotency_key)
        return self._calls.record(Schedule, "POST", _SCHEDULES, body=body, headers=headers)

    @call
    def next(self, schedule_id: str, count: int = 10) -> Flow[Sequence[ScheduleSlot]]:
        """Return the next 1 to 50 firings of a schedule."""
        found = yield from self._calls.data("GET", f"{_SCHEDULES}/{segment(schedule_id)}/next", params={"count": count})
        return [read(ScheduleSlot, data) for data in found]

    @listing
    def list(
        self,
        *,
        worker_id: str | None = None,
        enabled: bool | None = None,
        paused: bool | None = None,
        per_page: int = 100,
    ) -> Listing[Schedule]:
        """Return the matching schedules, newest first."""
        params: dict[str, Any] = {"per_page": per_page, "filter[worker_id]": worker_id}
        params |= {"filter[enabled]": flag(enabled), "filter[paused]": flag(paused)}
        return self._calls.records(Schedule, _SCHEDULES, params)

    @call
    def get(self, schedule_id: str) -> Flow[Schedule]:
        """Return a schedule."""
        return self._calls.record(Schedule, "GET", f"{_SCHEDULES}/{segment(schedule_id)}")

    @call
    def update(self, schedule_id: str, **changes: Unpack[_ScheduleChanges]) -> Flow[Schedule]:
        """Change fields of a schedule. Returns it with its next firing, computed from now."""
        body = _body(changes)
        return self._calls.record(Schedule, "PATCH", f"{_SCHEDULES}/{segment(schedule_id)}", body=body)

    @call
    def delete(self, schedule_id: str) -> Flow[None]:
        """Delete a schedule; its jobs continue."""
        return self._calls.delete(f"{_SCHEDULES}/{segment(schedule_id)}")

    @call
    def run(self, schedule_id: str, *, idempotency_key: str | None = None) -> Flow[Job]:
        """Trigger a job now, with a schedule's worker, input and priority."""
        headers = key_header(idempotency_key)
        return self._calls.record(Job, "POST", f"{_SCHEDULES}/{segment(schedule_id)}/run", headers=headers)

    @call
    def preview(
        self, cron: str | None = None, timezone: str | None = None, count: int = 10, *, every_seconds: int | None = None
    ) -> Flow[SchedulePreview]:
        """Return a pattern or an interval in words, and its next 1 to 50 firings; saves nothing."""
        interval = {} if every_seconds is None else {"every_seconds": every_seconds}
        body = {**_timing(cron, timezone), **interval, "count": count}
        return self._calls.record(SchedulePreview, "POST", f"{_SCHEDULES}/preview", body=body)

    @listing
    def firings(self, schedule_id: str, *, per_page: int = 100) -> Listing[Firing]:
        """Return a schedule's firings, newest first."""
        return self._calls.records(Firing, f"{_SCHEDULES}/{segment(schedule_id)}/firings", {"per_page": per_page})


def _timing(cron: str | None, timezone: str | None) -> dict[str, Any]:
    return {name: value for name, value in (("cron", cron), ("timezone", timezone)) if value is not None}


def _body(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sent_time(value) for name, value in fields.items()}
