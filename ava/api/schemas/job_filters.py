"""The filters of jobs, declared once: as parameters of lists and exports, and as fields of bodies."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from marshmallow import fields

from ava.api.http.fields import Choice, ClientId, Instant, QueryInstant
from ava.domain.job import Status, Trigger
from ava.domain.job_filter import JobFilter

__all__ = ["filter_fields", "take_filter"]


def filter_fields(*, in_query: bool, statuses: type[StrEnum] = Status) -> dict[str, fields.Field[Any]]:
    """Returns the fields of a filter: `filter[status]` in a query, `status` in a body; each may be left out.

    `statuses` are those that the filter may name.
    """
    instant = QueryInstant if in_query else Instant

    def named(name: str, description: str) -> dict[str, Any]:
        key = {"data_key": f"filter[{name}]"} if in_query else {}
        return {"load_default": None, "allow_none": False, "metadata": {"description": description}, **key}

    return {
        "worker_id": ClientId("wkr", **named("worker_id", "Filter to a specific worker.")),
        "status": Choice(statuses, **named("status", "Filter to one status.")),
        "trigger": Choice(Trigger, **named("trigger", "Filter to one trigger.")),
        "created_after": instant(**named("created_after", "ISO 8601 lower bound, inclusive.")),
        "created_before": instant(**named("created_before", "ISO 8601 upper bound, exclusive.")),
    }


def take_filter(values: dict[str, Any]) -> JobFilter:
    """Move the fields of a filter out of loaded values. Returns the filter."""
    taken = {name: values.pop(name) for name in JobFilter.__dataclass_fields__}
    return JobFilter(**taken | {"status": taken["status"] and Status(taken["status"])})
