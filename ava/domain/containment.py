"""Containments: no job of a scope starts until the containment is lifted or ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from ava.domain.access import actor
from ava.domain.access.actor import Actor
from ava.domain.jobs.job import Job
from ava.domain.record import about, as_record, format_time

#: The tenant of a containment of all tenants.
ALL_TENANTS = "*"
#: Max running jobs in a record.
MAX_RUNNING_SHOWN = 100
_SCOPE = about("The contained jobs, as `scope` was sent.")


class ContainmentState(StrEnum):
    ACTIVE = "active"
    LIFTED = "lifted"
    #: Its `ends_at` has passed.
    ENDED = "ended"


class RunningJobs(StrEnum):
    """What happens to the running jobs of a scope."""

    CANCEL = "cancel"
    LET_END = "let_end"


class NewTriggers(StrEnum):
    """What happens to new triggers of a scope."""

    REFUSE = "refuse"
    HOLD = "hold"


class HeldJobs(StrEnum):
    """What happens to the held jobs when a containment is lifted."""

    RELEASE = "release"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainedScope:
    """The contained jobs, which match all parts; a part of None matches each job."""

    #: `ALL_TENANTS`: of all tenants.
    tenant_id: str
    worker_id: str | None = None
    tag: tuple[str, str] | None = None
    tree_id: str | None = None
    #: Only jobs of this identity: of a key, with all keys that it has created, or of a user, with all keys of his.
    key_id: str | None = None
    user_id: str | None = None
    #: The identity and these keys.
    identity_ids: tuple[str, ...] = ()
    #: Only jobs that a delivery of this hook, or an event of this source, has caused, and their children.
    hook_id: str | None = None
    source: str | None = None

    @property
    def identity_id(self) -> str | None:
        return self.key_id or self.user_id

    @property
    def causes(self) -> list[str]:
        """Return the hook and the source as `Job.identities` has them."""
        hooks = [] if self.hook_id is None else [actor.cause_of(self.hook_id)]
        sources = [] if self.source is None else [actor.source_cause(self.source)]
        return [each.text for each in (*hooks, *sources)]

    @property
    def record(self) -> dict[str, object]:
        """Return the parts as clients send them."""
        names = ("key_id", "user_id", "worker_id", "tree_id", "hook_id", "source")
        parts: dict[str, object] = {name: getattr(self, name) for name in names}
        if self.tag is not None:
            parts["tag"] = {"key": self.tag[0], "value": self.tag[1]}
        found = {name: value for name, value in parts.items() if value is not None}
        if self.tenant_id == ALL_TENANTS:
            return {"all": True, **found}
        return found or {"tenant": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainmentSpec:
    scope: ContainedScope
    reason: str
    running: RunningJobs = RunningJobs.CANCEL
    triggers: NewTriggers = NewTriggers.REFUSE
    #: Seconds until it ends; None: it lasts until it is lifted.
    ends_in_seconds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainedRun:
    """A running job of the scope."""

    job_id: str = field(metadata={"prefix": "job"})
    node: str | None = field(
        metadata=about("The node, or the name that a program gave itself when it claimed the run.")
    )
    since: datetime
    lease_ends_at: datetime | None = field(
        metadata=about("When the run is lost unless its node or its program sends another heartbeat.")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Containment:
    id: str = field(metadata={"prefix": "con"})
    tenant_id: str
    scope: ContainedScope
    reason: str
    running_jobs: RunningJobs
    triggers: NewTriggers
    state: ContainmentState
    by: Actor = field(
        metadata={"description": "Who created it; null for the roles of a tenant if an operator did.", "nullable": True}
    )
    created_at: datetime
    ends_at: datetime | None = field(metadata=about("When it ends by itself; null: when it is lifted."))
    claims_ended_at: datetime | None
    swept_at: datetime | None
    effective_at: datetime | None = field(
        metadata=about("From this time on no handler of the scope is entered; null: not yet reached.")
    )
    complete_at: datetime | None = field(
        metadata=about("From this time on no run of the scope can write; null: not yet reached.")
    )
    held_count: int = field(metadata=about("Jobs that it holds now, or held when it was lifted."))
    stopped_count: int = field(metadata=about("Running jobs that it has asked to stop."))
    lifted_at: datetime | None
    lifted_by: Actor | None = field(
        metadata=about("Who lifted it; null before, and for the roles of a tenant if an operator did.")
    )
    running: Sequence[ContainedRun] = field(
        default=(), metadata=about("Up to 100 running jobs of the scope, until it is complete.")
    )
    running_count: int = field(default=0, metadata=about("The number of running jobs of the scope."))

    @property
    def scope_json(self) -> Annotated[str, _SCOPE]:
        return json.dumps(self.scope.record, separators=(",", ":"))

    @property
    def record(self) -> dict[str, Any]:
        """Return the record as the roles of its tenant see it, for webhooks and proofs."""
        found = as_record(self, "id reason state effective_at complete_at held_count stopped_count running_count")
        runs = [as_record(each, "job_id since lease_ends_at") | {"node": None} for each in self.running]
        return found | {
            "scope": self.scope.record,
            "by": _shown(self.by),
            "running": runs,
            "lifted_at": format_time(self.lifted_at),
            "lifted_by": None if self.lifted_by is None else _shown(self.lifted_by),
        }

    @property
    def is_active(self) -> bool:
        return self.state is ContainmentState.ACTIVE


def _shown(by: Actor) -> dict[str, Any] | None:
    return None if by.is_operator else as_record(by, "id kind via label")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainmentProofs:
    """The signed records of a containment, as compact JWS."""

    complete: str | None = field(metadata=about("Of the time when it became complete; null: it did not."))
    lifted: str | None = field(metadata=about("Of the time when it was lifted or ended; null: it is active."))


@dataclass(frozen=True, kw_only=True, slots=True)
class RehearsedWorker:
    """The jobs of one tenant and worker."""

    tenant_id: str = field(metadata={"prefixes": ()})
    worker_id: str = field(metadata={"prefixes": ()})
    held_count: int
    running_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """The jobs that a containment would hold and stop, by tenant and worker."""

    held_count: int = field(metadata=about("Jobs to hold."))
    running_count: int = field(metadata=about("Running jobs to stop."))
    by_worker: Sequence[RehearsedWorker] = field(metadata=about("The same by tenant and worker."))


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainedJobs:
    """A page of the jobs that a containment holds or has stopped."""

    jobs: Sequence[Job]
    total: int
