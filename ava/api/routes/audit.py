"""`/v1/ava/audit`: who changed what, from where. Every request that may change something is recorded here."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, g, request

from ava.api.http.context import caller, context, request_id
from ava.api.http.operations import find_operation, operation
from ava.api.http.paging import page_of
from ava.api.schemas.audit import AuditEntryRecord, AuditListQuery, AuditListRequest, write_audit_entry
from ava.domain.text import storable
from ava.store.reports.audit import AuditRecord

__all__ = ["blueprint", "record"]

blueprint = Blueprint("audit", __name__, url_prefix="/v1/ava/audit")

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
#: How many characters of x-forwarded-for are kept.
_MOST_FORWARDED = 200


@blueprint.get("")
@operation(
    summary="List the audit trail",
    description="Newest first: every request of the tenant that triggered, cancelled, retried or changed something, or "
    "was refused.",
    query=AuditListQuery(),
    record=AuditEntryRecord(),
    is_list=True,
)
def list_entries(query: AuditListRequest) -> Response:
    """Show a page of the trail."""
    found, total = context().admin.audit.page(caller(), query.audit_filter, limit=query.limit, before_id=query.after_id)
    return page_of(query, found, total, write_audit_entry, cursor_of=str)


def record(response: Response) -> None:
    """Record a request that asked for a change, with its response's status, if its caller is known."""
    if request.method not in _CHANGING or request.endpoint is None or (who := g.get("caller")) is None:
        return
    declared = find_operation(current_app.view_functions[request.endpoint])
    if declared is not None and not declared.is_write:
        # It is a POST for the sake of its body, as the preview of a schedule is.
        return
    context().admin.audit.record(
        AuditRecord(
            tenant_id=who.tenant_id,
            user_id=who.user_id,
            role=who.role.name.lower().replace("_", "-"),
            action=request.endpoint,
            target=_target(response),
            status=response.status_code,
            address=_address(),
            request_id=request_id(),
            at=datetime.now(UTC),
        )
    )


def _target(response: Response) -> str | None:
    """Returns the id of what was changed: the last id in the path, or that of the resource that was created."""
    if request.view_args:
        # An id in a path may hold any character, and one entry must not make the statement of its batch fail.
        return storable(str(list(request.view_args.values())[-1]), 100)
    location = response.headers.get("Location", "")
    return location.rpartition("/")[2] or None


def _address() -> str:
    peer = request.remote_addr or "unknown"
    forwarded = request.headers.get("x-forwarded-for", "")[:_MOST_FORWARDED]
    return f"{peer} for {forwarded}" if forwarded.isprintable() and forwarded else peer
