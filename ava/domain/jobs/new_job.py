"""A job to be created: the common input of all creators, and the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ava.domain.access import actor
from ava.domain.access.actor import Actor
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.waits import WaitCondition
from ava.errors import RequestError

#: The `schema_version` of an input that was not validated, or failed the validation.
UNMATCHED = ""

#: The `schema_version` of an input with references, which is validated once the outputs are known.
UNRESOLVED = "references"

#: The job, or the reason for its refusal. `JobCreator.create` returns the reason instead of raising it.
JobOrRefusal = Job | RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class After:
    #: Without duplicates.
    uuids: tuple[str, ...]
    condition: WaitCondition
    #: Whether its input refers to their outputs, so that it is validated once they are known.
    has_template: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TreePosition:
    tree_uuid: str
    parent_uuid: str | None = None
    name: str | None = None
    #: Whether it survives a cancel of its parent, and whether another job may wait for its end.
    is_detached: bool = False
    is_awaited: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    tenant_id: str
    #: The triggering user, API key or schedule.
    user_id: str
    spec: JobSpec
    #: The schema version that its input matches; None if its worker has no schema.
    schema_version: str | None = None
    #: False: only the dispatcher publishes it.
    may_publish: bool = True
    traceparent: str | None = None
    #: None: a new one.
    uuid: str | None = None
    #: Whether its `scheduled_at` has passed by the clock that its schedule used.
    is_due: bool = False
    after: After | None = None
    position: TreePosition | None = None
    #: Whether a containment holds it from its creation on.
    is_held: bool = False
    #: Whether an approval of its worker may apply; once its input is final, `approval_requests` decides.
    may_ask: bool = False
    #: As in `Job.origin_text`.
    origin_text: str | None = None

    @property
    def asks(self) -> bool:
        """Return True if it may need a decision before its first start."""
        return self.may_ask or self.spec.approval_json is not None


def origin_text(user_id: str, identities: Iterable[Actor]) -> str | None:
    """Return the `origin_text` of a job of these identities, the first of which caused its creation.

    `user_id`: its triggering user, API key or schedule.
    """
    text = actor.join(identities)
    return None if text in ("", user_id) else text
