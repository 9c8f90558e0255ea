"""Which of a tenant's jobs a list, an export or an operation on many jobs is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from ava.domain.job import Status, Trigger

__all__ = ["JobFilter"]


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which of a tenant's jobs; None means any. The fields have the names of the API's filters."""

    worker_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    #: With a time zone. `created_after` is inclusive, `created_before` exclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None

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
    "created_after": datetime.fromisoformat,
    "created_before": datetime.fromisoformat,
}


def _unchanged(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    # With microseconds, because a filter is read back from this text.
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
