"""The load of tenants: what clients get back."""

from __future__ import annotations

from marshmallow import Schema

from ava.api.http.fields import Id, WholeNumber
from ava.api.http.records import compile_schema
from ava.store.reports.tenant_loads import MOST_COUNTED_OF_TENANT

__all__ = ["TenantLoadRecord", "write_tenant_load"]

_COUNTED = {"description": f"Exact up to {MOST_COUNTED_OF_TENANT:,}; it stays there beyond."}
_ENDED = {"description": "Those that ended in the last hour."}


class TenantLoadRecord(Schema):
    """The jobs of one tenant."""

    tenant_id = Id("ten")
    waiting = WholeNumber(least=0, most=2**53, metadata=_COUNTED)
    scheduled = WholeNumber(least=0, most=2**53, metadata=_COUNTED)
    running = WholeNumber(least=0, most=2**53, metadata=_COUNTED)
    completed = WholeNumber(least=0, most=2**53, metadata=_ENDED)
    failed = WholeNumber(least=0, most=2**53, metadata=_ENDED)
    cancelled = WholeNumber(least=0, most=2**53, metadata=_ENDED)


write_tenant_load = compile_schema(TenantLoadRecord())
