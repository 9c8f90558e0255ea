"""Approvals: schemas of requests and responses."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http import paging
from ava.api.http.fields import (
    STORABLE,
    BoundedJson,
    BoundedString,
    CheckedString,
    Choice,
    ClientId,
    Plain,
    QueryFlag,
    filtered,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.approval import (
    MAX_COMMENT_CHARS,
    RECORD,
    Approval,
    ApprovalDecision,
    ApprovalFilter,
    ApprovalRequest,
    ApprovalStatus,
    SentDecision,
)
from ava.domain.approval_rule import rule_json
from ava.domain.limits.table import APPROVAL_BYTES

_NAMES = tuple(inspect.signature(ApprovalRequest.of).parameters)


#: The form of a hash.
_HASH = "^sha256:[0-9a-f]{64}$"


class ApprovalField(Plain):
    """A request for a decision, as an object with the fields of `env.approve`."""

    def read(self, value: Any) -> ApprovalRequest:
        if not isinstance(value, dict) or "title" not in value:
            raise ValidationError('It must be an object such as {"title": "Restart the database?"}.')
        if unknown := sorted(value.keys() - set(_NAMES)):
            raise ValidationError(f"It has no field {unknown[0][:100]!r}; it has {', '.join(_NAMES)}.")
        try:
            return ApprovalRequest.of(**value)
        except ValueError as error:
            raise ValidationError(f"{str(error)[:500]}.") from None


class _Rule(Plain):
    def read(self, value: Any) -> str:
        try:
            return rule_json(value)
        except ValueError as error:
            raise ValidationError(f"{str(error)[:500]}.") from None


def rule_field(description: str, **rest: Any) -> Plain:
    """The field `approval` of a worker, trigger or schedule; `description` begins its description."""
    fields_ = "`title`, `when` (a pattern over the input, as of a subscription), and the fields of `env.approve`"
    metadata = {
        "type": "object",
        "description": f"{description} Fields: {fields_}. The input is the content that is approved.",
    }
    return _Rule(allow_none=True, metadata=metadata, **rest)


class DecisionBody(Strict):
    """A decision about the content that was shown."""

    payload_hash = CheckedString(
        re.compile(_HASH).fullmatch,
        "It must be the payload_hash of the approval, unchanged.",
        required=True,
        metadata={"description": "The `payload_hash` of the content that was shown.", "pattern": _HASH},
    )
    data = BoundedJson(
        limit=APPROVAL_BYTES,
        what="answer",
        load_default=None,
        allow_none=True,
        metadata={"description": "The answer; it must match the approval's `schema`."},
    )
    comment = BoundedString(
        MAX_COMMENT_CHARS,
        characters=STORABLE,
        load_default=None,
        allow_none=True,
        metadata={"description": "The reason."},
    )

    @post_load
    def _decision(self, values: dict[str, Any], **_: Any) -> SentDecision:
        return SentDecision(
            approved=True, payload_hash=values["payload_hash"], comment=values["comment"], data_json=values["data"]
        )


@dataclass(frozen=True, kw_only=True)
class ApprovalListRequest(PageRequest):
    """A page and filters of approvals."""

    approval_filter: ApprovalFilter


class ApprovalListQuery(PageQuery):
    """The parameters of the list of approvals."""

    status = Choice(ApprovalStatus, **filtered("status", "Only approvals with this status."))
    job_id = ClientId("job", **filtered("job_id", "Only approvals of this job."))
    mine = QueryFlag(
        data_key="filter[mine]",
        load_default=False,
        metadata={"description": "True: only pending approvals that the caller may decide. Default: false."},
    )
    cursor = cursor_field(paging.id_reader("apr"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ApprovalListRequest:
        wanted = ApprovalFilter(status=values.pop("status"), job_id=values.pop("job_id"), is_mine=values.pop("mine"))
        return ApprovalListRequest(**take_page(values), approval_filter=wanted)


# Out -----------------------------------------------------------------------------------------------------------------


class ApprovalDecisionRecord(RecordSchema, of=ApprovalDecision):
    """The decision of one person."""


class ApprovalRecord(RecordSchema, of=Approval):
    """A decision of persons that a job waits for."""

    names = RECORD


write_approval = compile_schema(ApprovalRecord())
