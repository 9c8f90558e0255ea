"""A job that is about to be made: the record that every caller hands over, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.jobs.job import Job, JobSpec
from ava.errors import RequestError

__all__ = ["UNMATCHED", "JobOrRefusal", "NewJob"]

#: The `schema_version` of an input that does not match the schema that was compared, or has not been compared.
UNMATCHED = ""

#: The job, or the reason why it is refused. `make` returns the reason and does not raise it.
JobOrRefusal = Job | RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job that is about to be made for a tenant."""

    tenant_id: str
    #: The user, the API key or the schedule that triggers it.
    user_id: str
    spec: JobSpec
    #: The version of its worker's schema that its input matches; None if its worker has no schema.
    schema_version: str | None = None
    #: False if the dispatcher publishes it in any case.
    may_publish: bool = True
    #: The trace that it belongs to.
    traceparent: str | None = None
    #: The UUID that is reserved for it; None: it gets a new one.
    uuid: str | None = None
    #: Whether its `scheduled_at` has come, by the clock that its schedule was decided by.
    is_due: bool = False
    #: The UUID of the job of its schedule that ends before it may start; None if it waits for none.
    earlier_uuid: str | None = None
