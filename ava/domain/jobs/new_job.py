"""A job that is about to be made: the record that every caller hands over, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.waits import WaitCondition
from ava.errors import RequestError

#: The `schema_version` of an input that does not match the schema that was compared, or has not been compared.
UNMATCHED = ""

#: The `schema_version` of an input with references: it is compared once the outputs are known.
UNRESOLVED = "references"

#: The job, or the reason why it is refused. `JobCreator.create` returns the reason and does not raise it.
JobOrRefusal = Job | RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class After:
    """What a new job waits for."""

    #: The UUIDs of the jobs, each once.
    uuids: tuple[str, ...]
    condition: WaitCondition
    #: Whether its input refers to outputs of these jobs, so that its schema is compared once they are known.
    has_template: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of a new job among jobs that belong together."""

    #: The UUID of the first of them.
    tree_uuid: str
    #: The UUID of the job whose handler makes it.
    parent_uuid: str | None = None
    name: str | None = None
    #: Whether a cancel of its parent leaves it alone, and whether another job may wait for its end.
    is_detached: bool = False
    is_awaited: bool = False


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
    #: The jobs that end before it may start; None if it waits for none.
    after: After | None = None
    #: Its place among the jobs that belong together; None if it belongs to nothing.
    place: Place | None = None
