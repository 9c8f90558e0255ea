"""`/v1/ava/audit`: who changed what, from where. Every request that may change something is written down here."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, g, request

from ava.api.http import responses
from ava.api.http.context import caller, context, request_id
from ava.api.http.operations import operation
from ava.api.http.records import compile_schema
from ava.api.http.responses import Page
from ava.api.schemas.admin import AuditEntryRecord, AuditList, AuditListQuery
from ava.domain.text import storable
from ava.store.reports.audit import AuditRecord

__all__ = ["blueprint", "note"]

blueprint = Blueprint("audit", __name__, url_prefix="/v1/ava/audit")

_record = compile_schema(AuditEntryRecord())
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
#: How much of a proxy's word on the addresses behind it is kept.
_MOST_FORWARDED = 200


@blueprint.get("")
@operation(
    summary="List the audit trail",
    description="Newest first: every request of the tenant that triggered, cancelled, retried or changed something, or "
    "was refused it.",
    query=AuditListQuery(),
    answer=AuditEntryRecord(),
    is_list=True,
)
def list_entries(query: AuditList) -> Response:
    """A page of the trail."""
    found, total = context().operators.audit.page(
        caller(), query.audit_filter, limit=query.per_page + 1, before_id=query.before_id
    )
    shown, has_more = found[: query.per_page], len(found) > query.per_page
    page = Page(
        page=None if query.before_id else 1,
        per_page=query.per_page,
        total=total,
        has_more=has_more,
        next_cursor=shown[-1].id if has_more else None,
    )
    return responses.data_list([_record(entry) for entry in shown], page)


def note(answer: Response) -> None:
    """Write down what was asked for and answered, where somebody known asked for a change."""
    if request.method not in _CHANGING or request.endpoint is None or (who := g.get("caller")) is None:
        return
    context().operators.audit.note(
        AuditRecord(
            tenant_id=who.tenant_id,
            user_id=who.user_id,
            role=who.role.name.lower().replace("_", "-"),
            action=request.endpoint,
            target=_target(answer),
            status=answer.status_code,
            address=_address(),
            request_id=request_id(),
            at=datetime.now(UTC),
        )
    )


def _target(answer: Response) -> str | None:
    """What it was done to: the route's innermost id, or what the answer says is where now."""
    if request.view_args:
        # An id in a path may hold anything that a path can, and one entry must not spoil the others' statement.
        return storable(str(list(request.view_args.values())[-1]), 100)
    location = answer.headers.get("Location", "")
    return location.rpartition("/")[2] or None


def _address() -> str:
    peer = request.remote_addr or "unknown"
    forwarded = request.headers.get("x-forwarded-for", "")[:_MOST_FORWARDED]
    return f"{peer} for {forwarded}" if forwarded.isprintable() and forwarded else peer
