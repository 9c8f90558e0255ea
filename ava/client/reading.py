"""Read records from JSON, and add computed properties.

Fields that a newer server adds are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

Record = TypeVar("Record")

FINAL = ("completed", "failed", "cancelled")


class JobStatus:
    """Computed properties of a job's status."""

    status: str

    @property
    def is_final(self) -> bool:
        """Return True if the status can no longer change."""
        return self.status in FINAL


class OperationState:
    """Computed properties of an operation's state."""

    state: str

    @property
    def is_running(self) -> bool:
        """Return True if it still acts on jobs."""
        return self.state == "running"


class TreeStatus:
    """Computed properties of a tree."""

    jobs: Sequence[JobStatus]

    @property
    def is_final(self) -> bool:
        """Return True if each of its jobs is final."""
        return all(job.is_final for job in self.jobs)


def read(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """Return the record in a response's JSON."""
    readers = _readers(kind)  # type: ignore[arg-type]
    return kind(**{name: get(data[key]) for name, key, get in readers if key in data})


@cache
def _readers(kind: type[Any]) -> list[tuple[str, str, Callable[[Any], Any]]]:
    """Return each field of a record with its name in JSON and the function that reads its value."""
    types = get_type_hints(kind)
    return [(each.name, each.metadata.get("name", each.name), _reader(types[each.name])) for each in fields(kind)]


def _reader(type_: Any) -> Callable[[Any], Any]:
    inner = get_args(type_)
    if type_ is datetime or datetime in inner:
        return lambda value: value and datetime.fromisoformat(value)
    if inner and is_dataclass(inner[0]):
        return lambda values: [read(inner[0], value) for value in values]
    return lambda value: value
