"""Read records from JSON, and add computed properties.

Fields that a newer server adds are kept as they are, and its unknown values of an enumeration are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

_FINAL = ("completed", "failed", "cancelled")


class OpenEnum(StrEnum):
    """An enumeration of strings: each member equals its string. An unknown value of a newer server is decoded too."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value, value
        return member


class _HasStatus(Protocol):
    @property
    def status(self) -> str: ...


class _HasTimes(Protocol):
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...


class _HasState(Protocol):
    @property
    def state(self) -> str: ...


class _HasJobs(Protocol):
    @property
    def jobs(self) -> Sequence[_HasStatus]: ...


class JobProperties:
    """Computed properties of a job."""

    @property
    def is_final(self: _HasStatus) -> bool:
        """Return True if the status can no longer change."""
        return self.status in _FINAL

    @property
    def total_ms(self: _HasTimes) -> int | None:
        """Return the milliseconds from its start to its end, with its handler's waits, which `duration_ms` leaves out.

        None before the end, and if it never ran.
        """
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at) // timedelta(milliseconds=1)


class OperationProperties:
    """Computed properties of an operation."""

    @property
    def is_running(self: _HasState) -> bool:
        """Return True if it still acts on jobs."""
        return self.state == "running"


class TreeProperties:
    """Computed properties of a tree."""

    @property
    def is_final(self: _HasJobs) -> bool:
        """Return True if each of its jobs is final."""
        return all(job.status in _FINAL for job in self.jobs)


def read(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """Return a record. Fields of a newer server are attributes too, with the values of the JSON."""
    readers, known = _readers(kind), _keys(kind)  # type: ignore[arg-type]
    found = kind(**{name: get(data[key]) for name, key, get in readers if key in data})
    vars(found).update((key, value) for key, value in data.items() if key not in known)
    return found


@cache
def _readers(kind: type[Any]) -> list[tuple[str, str, Callable[[Any], Any]]]:
    """Return each field of a record with its name in JSON and the function that reads its value."""
    types = get_type_hints(kind)
    return [(each.name, each.metadata.get("name", each.name), _reader(types[each.name])) for each in fields(kind)]


@cache
def _keys(kind: type[Any]) -> set[str]:
    """Return the fields of a record that are known, and computed ones, as JSON names them."""
    readers: list[tuple[str, str, Any]] = _readers(kind)  # type: ignore[arg-type]
    return {key for _, key, _ in readers} | set(dir(kind))


def _reader(type_: Any) -> Callable[[Any], Any]:
    inner = get_args(type_)
    if type_ is datetime or datetime in inner:
        return lambda value: value and datetime.fromisoformat(value)
    enumeration = next(
        (each for each in (type_, *inner) if isinstance(each, type) and issubclass(each, OpenEnum)), None
    )
    if enumeration is not None:
        return lambda value: value and enumeration(value)
    record: Any = next(filter(is_dataclass, (type_, *inner)), None)
    if record is None:
        return lambda value: value
    if get_origin(type_) is list:
        return lambda values: [read(record, value) for value in values]
    return lambda value: value and read(record, value)
