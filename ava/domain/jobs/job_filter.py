"""The filter of a tenant's jobs for lists, exports and bulk operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ava.domain.ids import IdPart, find_part
from ava.domain.jobs.job import Status, Trigger
from ava.domain.jobs.wait_reasons import WaitsFor


class JobSort(StrEnum):
    """The order of a list that is not newest first; a minus sorts descending."""

    DURATION = "duration"
    LONGEST = "-duration"
    #: From when a job was due to its start.
    WAITED = "waited"
    LONGEST_WAITED = "-waited"
    PRIORITY = "priority"
    LEAST_URGENT = "-priority"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """A filter of a tenant's jobs; None matches any. The fields have the names of the API's filters."""

    worker_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    #: With a time zone. `created_after` is inclusive, `created_before` exclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None
    #: The same for the job's end.
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    priority: int | None = None
    triggered_by: str | None = None
    #: A substring; case is ignored.
    error: str | None = None
    error_id: str | None = None
    #: A job's id or a part of it, as `ids.find_part` accepts.
    id: str | None = None
    #: Tags that a job must have, as at least one pair of key and value.
    tags: tuple[tuple[str, str], ...] | None = None
    parent_id: str | None = None
    tree_id: str | None = None
    #: True: only the roots of trees and jobs outside trees; False: only the others.
    root: bool | None = None
    waits_for: WaitsFor | None = None
    #: Values in the input, as at least one pair of a path, such as `account.id`, and the value as a string.
    input: tuple[tuple[str, str], ...] | None = None

    @property
    def id_part(self) -> IdPart | None:
        return None if self.id is None else find_part("job", self.id)

    @property
    def is_searched(self) -> bool:
        """Return True if no index of the list covers the filter, so that jobs are checked one by one."""
        is_end = self.id_part is not None and not self.id_part.is_first
        is_by_end = self.completed_after is not None or self.completed_before is not None
        is_by_string = self.triggered_by or self.error or self.error_id
        is_by_tree = self.parent_id or self.tree_id or self.root is not None
        is_by_value = self.tags or self.input or self.priority or self.waits_for
        return bool(is_by_value or is_end or is_by_end or is_by_string or is_by_tree)

    def as_record(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> JobFilter:
        """Return the filter that `as_record` wrote."""
        return cls(**{name: _READ.get(name, _unchanged)(value) for name, value in record.items()})


_READ: Mapping[str, Any] = {
    "status": Status,
    "trigger": Trigger,
    "waits_for": WaitsFor,
    "created_after": datetime.fromisoformat,
    "created_before": datetime.fromisoformat,
    "completed_after": datetime.fromisoformat,
    "completed_before": datetime.fromisoformat,
    "tags": lambda tags: tuple(tags.items()),
    "input": lambda values: tuple(values.items()),
}


def _unchanged(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return dict(value)
    # With microseconds, because `from_record` must restore the exact time.
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
