"""The audit trail: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import post_load

from ava.api.http.fields import DISPLAYED, BoundedString, ClientId, filtered
from ava.api.http.paging import PageRequest, TimeRangeQuery, cursor_field, per_page_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.domain import ids
from ava.store.reports.audit import AuditEntry, AuditFilter

_Name = partial(BoundedString, 100, characters=DISPLAYED)


@dataclass(frozen=True, kw_only=True)
class AuditListRequest(PageRequest):
    """A page and filters of the audit trail."""

    audit_filter: AuditFilter


class AuditListQuery(TimeRangeQuery):
    """The parameters of the audit trail."""

    action = _Name(**filtered("action", "The action, such as `jobs.cancel`."))
    actor_id = _Name(**filtered("actor_id", "The identity: a user (`usr_…`) or an API key (`key_…`)."))
    label = ClientId("usr", **filtered("label", "The user that an API key's holder named in `x-user-id`."))
    target = _Name(**filtered("target", "The id of the changed object."))
    per_page = per_page_field()
    cursor = cursor_field(lambda string: string if ids.decode("aud", string) is not None else None)

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> AuditListRequest:
        page = take_page(values)
        return AuditListRequest(**page, audit_filter=AuditFilter(**values))


class AuditEntryRecord(RecordSchema, of=AuditEntry):
    """A request for a change."""

    names = "id at tenant_id actor role action target status address request_id occurrences changes"


write_audit_entry = compile_schema(AuditEntryRecord())
