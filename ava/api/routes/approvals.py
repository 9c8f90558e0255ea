"""`/v1/ava/approvals`: decisions of persons that jobs wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.callers.credentials import require_step_up
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.audit import record_within
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.approvals import (
    ApprovalListQuery,
    ApprovalRecord,
    DecisionBody,
    write_approval,
)
from ava.domain.approval import SentDecision

blueprint = Blueprint("approvals", __name__, url_prefix="/v1/ava/approvals")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<approval_id>",
    noun="an approval",
    find=lambda: context().approvals,
    write=write_approval,
    record=ApprovalRecord(),
)

_DECISION: dict[str, Any] = {
    "body": DecisionBody(),
    "record": ApprovalRecord(),
    "failures": (404, 409, 413, 415, 422),
    "is_audited": True,
    "needs_payloads": True,
}


_calls.add_list(
    ApprovalListQuery(),
    "approval_filter",
    description="Pending approvals are listed oldest first, all others newest first. Callers without payload "
    "permission see no title, payload, schema, comment or data.",
    call=PublicCall(
        help="List approvals: pending ones oldest first, others newest first.",
        columns="id* title worker_id REQUESTED=requested_age status* JOB=job_id+ ROLES=deciders+ EXPIRES=expires_at+",
    ),
)
_calls.add_show(PublicCall(help="Show an approval with its content, its payload_hash and its decisions."))


@blueprint.post("/<approval_id>/approve")
@operation(
    summary="Approve a request",
    call=PublicCall(
        arguments="payload_hash",
        options={"payload_hash": "--hash"},
        help="Approve the content with a payload_hash, as `show` prints it.",
        example="--hash 17ab…",
    ),
    description="For the roles or users that the approval names. The job continues once `count` persons have "
    "approved. The same decision again by the same caller returns 200.",
    **_DECISION,
)
def approve(approval_id: str, body: SentDecision) -> Response:
    return _decide(approval_id, body)


@blueprint.post("/<approval_id>/deny")
@operation(
    summary="Deny a request",
    call=PublicCall(
        arguments="payload_hash",
        options={"payload_hash": "--hash"},
        help="Deny the content with a payload_hash, as `show` prints it.",
        example="--hash 17ab…",
    ),
    description="For the roles or users that the approval names. One denial decides.",
    **_DECISION,
)
def deny(approval_id: str, body: SentDecision) -> Response:
    return _decide(approval_id, replace(body, approved=False))


def _decide(approval_id: str, sent: SentDecision) -> Response:
    # A write, although roles may take it that have no other one.
    context().containments.refuse_contained(caller())
    require_step_up()
    found = context().approvals.decide(caller(), approval_id, sent, record_within(200))
    return responses.data(write_approval(found))
