"""Which of a tenant's jobs a list, an export or an operation on many jobs is about."""

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
    """By what a list is sorted instead of newest first; with a minus the largest is first."""

    DURATION = "duration"
    LONGEST = "-duration"
    #: The time from when a job was due to its start.
    WAITED = "waited"
    LONGEST_WAITED = "-waited"
    PRIORITY = "priority"
    LEAST_URGENT = "-priority"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which of a tenant's jobs; None means any. The fields have the names of the API's filters."""

    worker_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    #: With a time zone. `created_after` is inclusive, `created_before` exclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None
    #: Likewise, of the end of the job.
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    priority: int | None = None
    #: The user, schedule or key that made the job.
    triggered_by: str | None = None
    #: A part of the error, in either case of its letters.
    error: str | None = None
    #: The group of its error.
    error_id: str | None = None
    #: A job's id or a part of it, which `ids.find_part` reads.
    id: str | None = None
    #: The tags that the jobs have, as pairs of key and value, at least one.
    tags: tuple[tuple[str, str], ...] | None = None
    #: The job whose handler made them, and the first of the jobs that belong together.
    parent_id: str | None = None
    tree_id: str | None = None
    #: True: those alone that are the first of what belongs together, or belong to nothing; False: the others.
    root: bool | None = None
    #: What the queued jobs wait for.
    waits_for: WaitsFor | None = None
    #: What is at places in the input, as pairs of a path, such as `account.id`, and the text of a value, at least one.
    input: tuple[tuple[str, str], ...] | None = None

    @property
    def id_part(self) -> IdPart | None:
        """Returns the part of the id."""
        return None if self.id is None else find_part("job", self.id)

    @property
    def is_searched(self) -> bool:
        """Return True if jobs are looked at one by one, because no index of the list holds what is asked for."""
        is_end = self.id_part is not None and not self.id_part.is_first
        is_by_end = self.completed_after is not None or self.completed_before is not None
        is_by_text = self.triggered_by or self.error or self.error_id
        is_by_tree = self.parent_id or self.tree_id or self.root is not None
        is_by_value = self.tags or self.input or self.priority or self.waits_for
        return bool(is_by_value or is_end or is_by_end or is_by_text or is_by_tree)

    def as_record(self) -> dict[str, Any]:
        """Returns the filter as JSON has it, without what it does not restrict."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> JobFilter:
        """Returns the filter that `as_record` has written."""
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
    # With microseconds, because a filter is read back from this text.
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
