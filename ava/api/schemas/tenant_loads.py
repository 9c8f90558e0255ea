"""The load of tenants: what clients get back."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, post_load

from ava.api.http.fields import ClientId, Id, Number, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.domain.counts import MAX_COUNTED_OF_TENANT

_COUNTED = {"description": f"Exact up to {MAX_COUNTED_OF_TENANT:,}; it stays there beyond."}
_ENDED = {"description": "Those that ended in the last hour."}


class TenantLoadsQuery(Strict):
    """The parameter of the list of tenants."""

    cursor = ClientId(
        "ten",
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier answer: the tenant after which this one looks."},
    )

    @post_load
    def _after(self, values: dict[str, Any], **_: Any) -> str | None:
        after: str | None = values["cursor"]
        return after


class TenantLoadRecord(Schema):
    """The jobs of one tenant."""

    tenant_id = Id("ten")
    waiting = WholeNumber(minimum=0, maximum=2**53, metadata=_COUNTED)
    scheduled = WholeNumber(minimum=0, maximum=2**53, metadata=_COUNTED)
    running = WholeNumber(minimum=0, maximum=2**53, metadata=_COUNTED)
    completed = WholeNumber(minimum=0, maximum=2**53, metadata=_ENDED)
    failed = WholeNumber(minimum=0, maximum=2**53, metadata=_ENDED)
    cancelled = WholeNumber(minimum=0, maximum=2**53, metadata=_ENDED)
    share = Number(
        allow_none=True,
        metadata={"description": "Its part of the time that all jobs which ended in the last hour have run, 0 to 1."},
    )


write_tenant_load = compile_schema(TenantLoadRecord())
