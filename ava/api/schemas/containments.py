"""Containments: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http import paging
from ava.api.http.context import caller
from ava.api.http.fields import (
    BoundedString,
    Choice,
    ClientId,
    Flag,
    WholeNumber,
    filtered,
    wait_field,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import ActorRecord, RecordSchema, RecordWriter, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.pause_fields import ReasonString
from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.containment import (
    ALL_TENANTS,
    ContainedScope,
    Containment,
    ContainmentProofs,
    ContainmentSpec,
    ContainmentState,
    HeldJobs,
    NewTriggers,
    Rehearsal,
    RunningJobs,
)
from ava.domain.events.event import MAX_TEXT_CHARS

_MAX_COUNT = 2**53
_MAX_SECONDS = 366 * 86400

# In ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ContainmentRequest:
    """A containment to create, or to rehearse."""

    spec: ContainmentSpec
    is_dry_run: bool


class _OnlyTrue(Flag):
    """A part of a scope that is only present or absent."""

    def read(self, value: Any) -> bool:
        if value is not True:
            raise ValidationError("It must be true, or absent.")
        return True


class TagPart(Strict):
    """A tag that the jobs of a scope have."""

    key = BoundedString(32, required=True)
    value = BoundedString(64, required=True)


class ScopeBody(Strict):
    """Select jobs to contain: they match all parts. At least one part is required."""

    tenant = _OnlyTrue(metadata={"description": "True: all jobs of the tenant."})
    all = _OnlyTrue(metadata={"description": "True: the jobs of all tenants; only platform roles may send it."})
    key_id = ClientId("key", metadata={"description": "Only jobs of this API key and of all keys that it has created."})
    user_id = ClientId("usr", metadata={"description": "Only jobs of this user and of all keys of his."})
    worker_id = ClientId("wkr", metadata={"description": "Only jobs of this worker."})
    tag = fields.Nested(TagPart(), metadata={"description": "Only jobs with this tag."})
    tree_id = ClientId("job", metadata={"description": "Only the jobs of this tree, given by its root."})
    hook_id = ClientId("hk", metadata={"description": "Only jobs of this hook's deliveries, and their children."})
    source = BoundedString(
        MAX_TEXT_CHARS, metadata={"description": "Only jobs of events with this source, and their children."}
    )

    @post_load
    def _scope(self, values: dict[str, Any], **_: Any) -> ContainedScope:
        if not values:
            raise ValidationError("It must have at least one part, so that no tenant is contained by accident.")
        if "all" in values and "tenant" in values:
            raise ValidationError("Send either tenant or all.", "all")
        if "tree_id" in values and ids.decode("job", values["tree_id"]) is None:
            # Never a scope without this part, which would contain more.
            raise ValidationError("It must be the id of a job.", "tree_id")
        if "key_id" in values and "user_id" in values:
            raise ValidationError("Send either key_id or user_id.", "user_id")
        if "all" in values and ("key_id" in values or "user_id" in values):
            raise ValidationError("An identity belongs to one tenant; send x-tenant-id, without all.", "all")
        tag = values.get("tag")
        return ContainedScope(
            tenant_id=ALL_TENANTS if "all" in values else caller().tenant_id,
            worker_id=values.get("worker_id"),
            tag=None if tag is None else (tag["key"], tag["value"]),
            tree_id=values.get("tree_id"),
            key_id=values.get("key_id"),
            user_id=values.get("user_id"),
            hook_id=values.get("hook_id"),
            source=values.get("source"),
        )


class ContainmentBody(Strict):
    """A containment to create."""

    scope = fields.Nested(
        ScopeBody(),
        required=True,
    )
    reason = ReasonString(
        required=True,
        metadata={"description": "Why the jobs are contained."},
    )
    running = Choice(
        RunningJobs,
        load_default=RunningJobs.CANCEL,
        metadata={"description": "`cancel` (the default) stops running jobs, `let_end` lets them end."},
    )
    triggers = Choice(
        NewTriggers,
        load_default=NewTriggers.REFUSE,
        metadata={"description": "`refuse` (the default): new triggers are 409; `hold`: they create held jobs."},
    )
    ends_in_seconds = WholeNumber(
        minimum=1,
        maximum=_MAX_SECONDS,
        load_default=None,
        allow_none=True,
        metadata={"description": "Seconds until it ends by itself; without it, it lasts until it is lifted."},
    )
    dry_run = Flag(
        load_default=False,
        metadata={"description": "True: return 200 with the jobs to hold and to stop, and contain nothing."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ContainmentRequest:
        is_dry_run = values.pop("dry_run")
        return ContainmentRequest(spec=ContainmentSpec(**values), is_dry_run=is_dry_run)


class LiftBody(Strict):
    """What happens to the held jobs."""

    held = Choice(
        HeldJobs,
        load_default=HeldJobs.RELEASE,
        metadata={"description": "`release` (the default) returns the held jobs to the queue, `cancel` cancels them."},
    )


@dataclass(frozen=True, kw_only=True)
class ContainmentListRequest(PageRequest):
    """A page and filters of containments."""

    state: ContainmentState | None


class ContainmentListQuery(PageQuery):
    """The parameters of the list of containments."""

    state = Choice(ContainmentState, **filtered("state", "Only containments in this state."))
    cursor = cursor_field(paging.id_reader("con"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ContainmentListRequest:
        return ContainmentListRequest(**take_page(values), **values)


class ContainmentQuery(Strict):
    """The parameters of one containment."""

    wait = wait_field("the containment is complete")

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> int | None:
        seconds: int | None = values["wait"]
        return seconds


# Out -----------------------------------------------------------------------------------------------------------------


_write_actor = compile_schema(ActorRecord())


def _write_for_tenant(actor: Actor) -> str:
    return "null" if actor.is_operator else _write_actor(actor)


class ContainmentRecord(RecordSchema, of=Containment):
    """A containment: no job of its scope starts while it is active."""

    names = (
        "id scope reason state effective_at complete_at by held_count stopped_count running running_count lifted_at "
        "lifted_by"
    )


class ProofsRecord(RecordSchema, of=ContainmentProofs):
    """The signed records of a containment, each a compact JWS."""

    names = "complete lifted"


class RehearsalRecord(RecordSchema, of=Rehearsal):
    """The jobs that a containment would hold and stop now."""


#: By whether an operator reads them.
_writers = {
    is_operator: compile_schema(ContainmentRecord(), by=write_actor, lifted_by=write_actor)
    for is_operator, write_actor in ((False, _write_for_tenant), (True, _write_actor))
}


def containment_writer() -> RecordWriter:
    """Return a function that writes a containment as JSON for the caller; a stream needs it after the request."""
    return _writers[caller().is_operator]


def write_containment(containment: Containment) -> str:
    return containment_writer()(containment)


write_proofs = compile_schema(ProofsRecord())
write_rehearsal = compile_schema(RehearsalRecord())
