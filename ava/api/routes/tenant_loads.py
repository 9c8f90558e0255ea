"""`/v1/ava/tenants`: the load of every tenant, for platform roles."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.tenant_loads import TenantLoadRecord, TenantLoadsQuery, write_tenant_load
from ava.store.reports.tenant_loads import MAX_LOOKED_AT, MAX_TENANTS

blueprint = Blueprint("tenant_loads", __name__, url_prefix="/v1/ava/tenants")


@blueprint.get("")
@operation(
    summary="List the tenants with their jobs",
    description="For platform-admin and above: the tenants with jobs that wait, run, or ended in the last hour. Those "
    f"with the most failures are first, then those with the most waiting jobs; at most {MAX_TENANTS}. One answer "
    f"looks at {MAX_LOOKED_AT:,} tenants, in the order of their ids; `next_cursor` leads to those that follow.",
    query=TenantLoadsQuery(),
    query_as="after",
    record=TenantLoadRecord(many=True),
    reads_standby=True,
)
def list_tenants(after: str | None) -> Response:
    """Show the load of tenants."""
    found = context().admin.overviews.tenants(caller(), after=after)
    texts = ",".join([write_tenant_load(load) for load in found.loads])
    place = json.dumps({"has_more": found.looked_at_until is not None, "next_cursor": found.looked_at_until})
    return responses.as_json(f'{{"data":[{texts}],"pagination":{place}}}\n')
