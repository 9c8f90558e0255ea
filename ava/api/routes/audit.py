"""`/v1/ava/audit`: who changed what, from where. Every request that may change something is recorded here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Request, Response, current_app, g

from ava.api.http.context import caller, context, request_id
from ava.api.http.operations import find_operation, operation
from ava.api.http.paging import page_of
from ava.api.mcp.rest import TOOL
from ava.api.schemas.audit import AuditEntryRecord, AuditListQuery, AuditListRequest, write_audit_entry
from ava.domain.secrets.redaction import redact
from ava.domain.text import storable
from ava.store.reports.audit import AuditRecord

blueprint = Blueprint("audit", __name__, url_prefix="/v1/ava/audit")

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
#: Its tools make requests of their own to the routes, and these are recorded.
_MCP = "mcp"
#: Characters of a value's JSON text that are kept; of a longer one only the number of characters is.
_LONGEST_VALUE = 1_000
#: How many characters of x-forwarded-for are kept.
_MAX_FORWARDED = 200


@blueprint.get("")
@operation(
    summary="List the audit trail",
    description="Newest first: every request of the tenant that triggered, cancelled, retried or changed something, or "
    "was refused. Refusals (4xx) of an action are counted by status: the first has an entry, the others one a minute, "
    "with their number. With several filters the newest 10,000 entries of one of them are searched.",
    query=AuditListQuery(),
    record=AuditEntryRecord(),
    is_list=True,
)
def list_entries(query: AuditListRequest) -> Response:
    """Show a page of the trail."""
    found, total = context().admin.audit.page(caller(), query.audit_filter, limit=query.limit, before_id=query.after_id)
    return page_of(query, found, total, write_audit_entry, cursor_of=str)


def record(asked: Request, response: Response) -> None:
    """Record a request that asked for a change, with its response's status, if its caller is known."""
    endpoint = asked.endpoint
    if asked.method not in _CHANGING or endpoint is None or (who := g.get("caller")) is None:
        return
    if asked.blueprint == _MCP:
        return
    declared = find_operation(current_app.view_functions[endpoint])
    if declared is not None and not (declared.is_write or declared.is_audited):
        # It is a POST for the sake of its body, as the preview of a schedule is, or a request to a hook.
        return
    context().admin.audit.record(
        AuditRecord(
            tenant_id=who.tenant_id,
            user_id=who.user_id,
            role=who.role.header,
            action=endpoint,
            target=_target(asked, response),
            status=response.status_code,
            address=_address(asked),
            request_id=request_id(),
            at=datetime.now(UTC),
            changes_json=_changes(asked, response),
            key_id=who.key_id,
        )
    )


def note_change(before: str, after: str, names: Iterable[str], *, hidden: Mapping[str, Any] | None = None) -> None:
    """Keep for the audit entry of this request what it has changed: the named fields of two records as JSON texts.

    `hidden` has what stands for values that are not shown.
    """
    old, new = json.loads(before), json.loads(after)
    g.changes = changed_fields(old, new, names) | {name: list(values) for name, values in (hidden or {}).items()}


def note_pairs(**values: tuple[object, object]) -> None:
    """Keep for the audit entry of this request what it has changed: old and new value of each field, if they differ."""
    g.changes = {name: list(pair) for name, pair in values.items() if pair[0] != pair[1]}


def note_values(**values: object) -> None:
    """Keep for the audit entry of this request what it has set: each value by its name."""
    g.changes = {name: [None, value] for name, value in values.items()}


def _changes(asked: Request, response: Response) -> str | None:
    changes = dict(g.get("changes") or {})
    if g.get("is_dry_run"):
        changes["dry_run"] = [None, True]
    if tool := asked.environ.get(TOOL):
        changes["mcp_tool"] = [None, tool]
    return json.dumps(changes) if changes and response.status_code < 400 else None


def _target(asked: Request, response: Response) -> str | None:
    """Return the id of what was changed: the last id in the path, or that of the resource that was created."""
    if asked.view_args:
        # An id in a path may hold any character, and one entry must not make the statement of its batch fail.
        return storable(str(list(asked.view_args.values())[-1]), 100)
    location = response.headers.get("Location", "")
    return location.rpartition("/")[2] or None


def _address(asked: Request) -> str:
    peer = asked.remote_addr or "unknown"
    forwarded = asked.headers.get("x-forwarded-for", "")[:_MAX_FORWARDED]
    return f"{peer} for {forwarded}" if forwarded.isprintable() and forwarded else peer


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Returns `[old, new]` of those of the named fields that differ; both are JSON values without credentials."""
    return {
        name: [_short_value(before.get(name)), _short_value(after.get(name))]
        for name in names
        if before.get(name) != after.get(name)
    }


def _short_value(value: Any) -> Any:
    # Every role of the tenant may read the trail, and it is kept for longer than what it is about.
    shown = redact(value)
    length = len(json.dumps(shown))
    return shown if length <= _LONGEST_VALUE else f"({length} characters)"
