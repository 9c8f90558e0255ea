"""URL converters for ids in paths."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter


class _JobIds(BaseConverter):
    """A job's id or something of its form. `/jobs/bulk` does not match, so a GET of it is answered with 405."""

    regex = r"job_[0-9a-z_]{1,60}"


class _ScheduleIds(BaseConverter):
    """A schedule's id or something of its form. `/schedules/preview` does not match."""

    regex = r"sch_[0-9a-z_]{1,60}"


class _HookIds(BaseConverter):
    """A hook's id or something of its form."""

    regex = r"hk_[0-9a-z_]{1,60}"


class _SubscriptionIds(BaseConverter):
    """A subscription's id or something of its form. `/subscriptions/test` does not match."""

    regex = r"sub_[0-9a-z_]{1,60}"


class _TenantIds(BaseConverter):
    """A tenant's id or something of its form."""

    regex = r"ten_[0-9a-z_]{1,60}"


class _QueueNames(BaseConverter):
    """The name of a queue."""

    regex = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


def install(app: Flask) -> None:
    """Register the converters; to be called before the routes that use them are registered."""
    app.url_map.converters["job"] = _JobIds
    app.url_map.converters["schedule"] = _ScheduleIds
    app.url_map.converters["hook"] = _HookIds
    app.url_map.converters["subscription"] = _SubscriptionIds
    app.url_map.converters["tenant"] = _TenantIds
    app.url_map.converters["queue"] = _QueueNames
