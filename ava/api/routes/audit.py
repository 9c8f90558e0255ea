"""`/v1/ava/audit`: who changed what, and from where. Records every request that may change something."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Request, Response, current_app, g

from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context, request_id, this_request
from ava.api.http.operations import find_operation, operation
from ava.api.http.paging import page_of
from ava.api.mcp.rest_calls import TOOL
from ava.api.schemas.reports import AuditEntryRecord, AuditListQuery, AuditListRequest, write_audit_entry
from ava.domain.access.actor import AuditRecord
from ava.domain.secrets.redaction import redact
from ava.domain.strings import storable

blueprint = Blueprint("audit", __name__, url_prefix="/v1/ava/audit")

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
#: A browser that returns from the identity provider begins a session with a GET.
_SIGN_IN = "oidc.finish"
#: MCP's tools call the routes, which record the requests.
_MCP = "mcp"
#: Max characters of a value's JSON; of a longer value only their number is recorded.
_LONGEST_VALUE = 1_000
#: Max characters of x-forwarded-for that are recorded.
_MAX_FORWARDED = 200


@blueprint.get("")
@operation(
    summary="List the audit trail",
    call=PublicCall(
        options={"actor_id": "--by"},
        help="List who changed what, newest first; refused requests are listed too.",
        columns="AT=at ACTOR=actor_name VIA=actor_via+ LABEL=actor_label+ ROLE=role+ action target STATUS=status* "
        "TIMES=occurrences? ADDRESS=address+ REQUEST=request_id+",
    ),
    description="Newest first: each request of the tenant that triggered, cancelled, retried or changed something, "
    "or was refused. Refusals (4xx) of an action are counted by status: the first has its own entry, later ones "
    "share one entry a minute with their number. A combination of filters searches the newest 10,000 entries of one "
    "filter.",
    query=AuditListQuery(),
    record=AuditEntryRecord(),
    is_list=True,
)
def list_entries(query: AuditListRequest) -> Response:
    found, total = context().admin.audit.page(caller(), query.audit_filter, bounds=query.bounds)
    return page_of(query, found, total, write_audit_entry, cursor_of=lambda entry: entry.id)


def record(asked: Request, response: Response) -> None:
    """Record a request that asked for a change, with its response's status, if its caller is known."""
    endpoint = asked.endpoint
    if endpoint is None or g.get("caller") is None:
        return
    if asked.method not in _CHANGING and endpoint != _SIGN_IN:
        return
    if asked.blueprint == _MCP or (g.get("is_recorded") and response.status_code < 400):
        return
    declared = find_operation(current_app.view_functions[endpoint])
    if declared is not None and not (declared.is_write or declared.is_audited):
        # It is a POST only to have a body, such as the preview of a schedule, or it is a request to a hook.
        return
    context().admin.audit.record(
        replace(
            _record_of(asked, response.status_code),
            target=_target(asked, response),
            changes_json=_changes(asked, response),
        )
    )


def record_within(status: int) -> AuditRecord:
    """Return this request's entry, for a service that writes it in its own transaction if it succeeds."""
    g.is_recorded = True
    return _record_of(this_request(), status)


def _record_of(asked: Request, status: int) -> AuditRecord:
    who = caller()
    return AuditRecord(
        tenant_id=who.tenant_id,
        actor=who.actor,
        role=who.role.header,
        action=asked.endpoint or "",
        target=_target_in_path(asked),
        status=status,
        address=_address(asked),
        request_id=request_id(),
        at=datetime.now(UTC),
    )


def record_change(before: str, after: str, names: Iterable[str], *, hidden: Mapping[str, Any] | None = None) -> None:
    """Record the changed fields in this request's audit entry: compares `names` in two records' JSON.

    `hidden` has the placeholders of hidden values.
    """
    old, new = json.loads(before), json.loads(after)
    g.changes = changed_fields(old, new, names) | {name: list(values) for name, values in (hidden or {}).items()}


def record_pairs(**values: tuple[object, object]) -> None:
    """Record the old and new value of each changed field in this request's audit entry."""
    g.changes = {name: list(pair) for name, pair in values.items() if pair[0] != pair[1]}


def record_values(**values: object) -> None:
    """Record the new values, by name, in this request's audit entry."""
    g.changes = {name: [None, value] for name, value in values.items()}


def _changes(asked: Request, response: Response) -> str | None:
    changes = dict(g.get("changes") or {})
    if g.get("is_dry_run"):
        changes["dry_run"] = [None, True]
    if tool := asked.environ.get(TOOL):
        changes["mcp_tool"] = [None, tool]
    return json.dumps(changes) if changes and response.status_code < 400 else None


def _target(asked: Request, response: Response) -> str | None:
    """Return the id of the changed resource: the last id in the path, or the id of a created resource."""
    location = response.headers.get("Location", "")
    return _target_in_path(asked) or location.rpartition("/")[2] or None


def _target_in_path(asked: Request) -> str | None:
    # An id in a path may contain any character, and one entry must not fail its batch's statement.
    return storable(str(list(asked.view_args.values())[-1]), 100) if asked.view_args else None


def _address(asked: Request) -> str:
    peer = asked.remote_addr or "unknown"
    forwarded = asked.headers.get("x-forwarded-for", "")[:_MAX_FORWARDED]
    return f"{peer} for {forwarded}" if forwarded.isprintable() and forwarded else peer


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Return `[old, new]` of each named field that differs, as JSON values without credentials."""
    return {
        name: [_short_value(before.get(name)), _short_value(after.get(name))]
        for name in names
        if before.get(name) != after.get(name)
    }


def _short_value(value: Any) -> Any:
    # Every role of the tenant may read the trail, and it outlives its subjects.
    shown = redact(value)
    length = len(json.dumps(shown))
    return shown if length <= _LONGEST_VALUE else f"({length} characters)"
