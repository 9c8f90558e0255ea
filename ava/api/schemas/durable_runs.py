"""Durable handlers over HTTP: schemas of a run's steps, children, waits, outputs and journal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http.fields import (
    STORABLE,
    BoundedJson,
    BoundedNumber,
    BoundedString,
    Choice,
    ClientId,
    Flag,
    JsonObject,
    Plain,
    WholeNumber,
)
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Entries, Strict
from ava.api.schemas.approvals import ApprovalField
from ava.api.schemas.job_details import ChildRecord
from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs import priority
from ava.domain.jobs.waits import ChildOutput, EntryState, NewChild
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import CHILDREN_PER_CALL, OUTPUTS_PER_CALL, STEP_BYTES, TREE_JOBS
from ava.handler.call_arguments import MAX_NAME, MAX_WAIT_SECONDS
from ava.services.durable_runs import SentStep, SentWait

_JournalName = partial(BoundedString, MAX_NAME, characters=STORABLE)


class _ChildIds(Plain):
    """A list of ids of jobs."""

    def __init__(self, *, limit: Limit, **rest: Any) -> None:
        rest["metadata"] = {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": limit.value,
        } | rest.get("metadata", {})
        super().__init__(**rest)
        self.limit = limit

    def read(self, value: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= self.limit.value:
            raise ValidationError(self.limit.message(f"It must be a list of 1 to {self.limit.value:,} jobs."))
        if not all(isinstance(each, str) and ids.decode("job", each) is not None for each in value):
            raise ValidationError("Each entry must be the id of a job.")
        return list(dict.fromkeys(value))


class StepBody(Strict):
    """The beginning or the result of a step."""

    name = _JournalName(required=True)
    state = Choice(
        (EntryState.BEGAN, EntryState.DONE),
        required=True,
        metadata={
            "description": "`began`, before it runs: only for a step that must run at most once; `done`: its result."
        },
    )
    value = BoundedJson(
        limit=STEP_BYTES,
        what="result of a step",
        allow_none=True,
        metadata={"description": "Only with `done`: the result of the step, any JSON value; null by default."},
    )

    @post_load
    def _step(self, values: dict[str, Any], **_: Any) -> SentStep:
        is_done = values["state"] is EntryState.DONE
        if "value" in values and not is_done:
            raise ValidationError({"value": ["It is allowed only with the state done."]})
        value = values.get("value")
        return SentStep(
            name=values["name"],
            state=values["state"],
            value_json=("null" if value is None else value) if is_done else None,
        )


class _ChildBody(Strict):
    """A child to create."""

    name = _JournalName(
        required=True, metadata={"description": "The name of the child; a second call returns the same job."}
    )
    worker_id = ClientId("wkr", required=True)
    input = JsonObject(load_default="{}")
    priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        load_default=None,
        allow_none=True,
        metadata={"description": "At most as urgent as the job's; null: the job's."},
    )
    detached = Flag(load_default=False, metadata={"description": "True: the child outlives a cancel of the job."})

    @post_load
    def _child(self, values: dict[str, Any], **_: Any) -> NewChild:
        return NewChild(
            name=values["name"],
            worker_id=values["worker_id"],
            input_json=values["input"],
            priority=values["priority"],
            is_detached=values["detached"],
        )


class ChildrenBody(Strict):
    """Children to create, all or none."""

    children = Entries(_ChildBody(), limit=CHILDREN_PER_CALL, required=True)

    @post_load
    def _children(self, values: dict[str, Any], **_: Any) -> Sequence[NewChild]:
        names = [child.name for child in values["children"]]
        if len(set(names)) < len(names):
            raise ValidationError({"children": ["Each name may occur only once."]})
        found: Sequence[NewChild] = values["children"]
        return found


class _Event(Plain):
    """The event to wait for, as an object with a type and a pattern."""

    def read(self, value: Any) -> AwaitedEvent:
        if not isinstance(value, dict) or not {"type"} <= set(value) <= {"type", "match"}:
            raise ValidationError('It must be an object such as {"type": "order.paid", "match": {"order": ["A1"]}}.')
        try:
            return AwaitedEvent.of(value["type"], value.get("match"))
        except ValueError as error:
            raise ValidationError(f"{str(error)[:500]}.") from None


class WaitBody(Strict):
    """A wait of a handler: for children, an event, a decision or a time."""

    name = _JournalName(load_default=None, allow_none=True, metadata={"description": "Its name in the journal."})
    jobs = _ChildIds(limit=TREE_JOBS, metadata={"description": "The children that the handler waits for."})
    any = Flag(
        load_default=False, metadata={"description": "Only with `jobs`: true waits for the first child that ends."}
    )
    event = _Event(
        metadata={
            "type": "object",
            "description": "The type of the event, and in `match` a pattern as of a subscription.",
        }
    )
    approval = ApprovalField(
        metadata={"description": "The request for a decision of persons; `name` is required with it."}
    )
    seconds = BoundedNumber(
        minimum=1,
        maximum=MAX_WAIT_SECONDS,
        metadata={"description": "The time to sleep, from the first request with this name."},
    )
    timeout_seconds = BoundedNumber(
        minimum=0,
        maximum=MAX_WAIT_SECONDS,
        load_default=None,
        allow_none=True,
        metadata={"description": "With `jobs` or `event`: the wait then ends as `timed_out`."},
    )

    @post_load
    def _wait(self, values: dict[str, Any], **_: Any) -> SentWait:
        if sum(name in values for name in ("jobs", "event", "approval", "seconds")) != 1:
            raise ValidationError("It must have exactly one field: jobs, event, approval or seconds.")
        if "approval" in values and values["name"] is None:
            raise ValidationError({"name": ["It is required with approval."]})
        if values["any"] and "jobs" not in values:
            raise ValidationError({"any": ["It is allowed only with jobs."]})
        if values["timeout_seconds"] is not None and not values.keys() & {"jobs", "event"}:
            raise ValidationError({"timeout_seconds": ["It is allowed only with jobs or event."]})
        return SentWait(
            name=values["name"],
            job_ids=tuple(values.get("jobs", ())),
            is_any=values["any"],
            event=values.get("event"),
            approval=values.get("approval"),
            seconds=values.get("seconds"),
            timeout_seconds=values["timeout_seconds"],
        )


class OutputsBody(Strict):
    """Children; the response has their outputs."""

    jobs = _ChildIds(limit=OUTPUTS_PER_CALL, required=True)


# Out -----------------------------------------------------------------------------------------------------------------


class ChildOutputRecord(RecordSchema, of=ChildOutput):
    """A child and its output."""


write_child = compile_schema(ChildRecord())
write_child_output = compile_schema(ChildOutputRecord())
