"""`/v1/ava/keys`: API keys, each for a tenant and a role."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, id_reader, page_of, page_query
from ava.api.http.records import write_deleted
from ava.api.routes.audit import record_change
from ava.api.schemas.keys import (
    CreatedKeyRecord,
    KeyBody,
    KeyDeletedRecord,
    KeyRecord,
    write_key,
    write_new_key,
)
from ava.domain.access.api_key import ApiKeySpec

blueprint = Blueprint("keys", __name__, url_prefix="/v1/ava/keys")

#: The fields of a key that are audited; none reveals its token.
_AUDITED = ("name", "role", "expires_at", "workers")


@blueprint.post("")
@operation(
    summary="Create an API key",
    call=PublicCall(
        arguments="name role",
        options={"role": "--key-role", "payloads": "--no-payloads", "scope": "--platform"},
        defaults={"role": "tenant-system-admin"},
        help="Create a key and print it with its token, which is in this response only.\n\nSet the token as "
        "AVA_API_KEY for commands and programs.",
        example="deploy --expires-at 2027-01-31",
    ),
    description="The token, sent as `Authorization: Bearer ava_00.…`, replaces the four headers: the tenant is the "
    "caller's, the role the key's. It is shown only once; the server stores a hash of its secret part.",
    body=KeyBody(),
    body_as="spec",
    record=CreatedKeyRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    needs_payloads=True,
    takes_key=True,
)
def create(spec: ApiKeySpec, key: str | None) -> Response:
    created, is_replay = context().api_keys.create(caller(), spec, key)
    response = responses.data(
        write_new_key(created), 201, location=f"{blueprint.url_prefix}/{created.id}", is_replay=is_replay
    )
    if not is_replay:
        record_change("{}", write_key(created), _AUDITED)
    return response


@blueprint.get("")
@operation(
    summary="List API keys",
    call=PublicCall(
        help="List the tenant's keys, newest first.",
        columns="id* name role prefix+ created_by+ EXPIRES=expires_at? LAST_USED=last_used_at",
    ),
    description="Newest first, including expired keys. No token is shown.",
    query=page_query(id_reader("key")),
    record=KeyRecord(),
    is_list=True,
)
def list_keys(query: PageRequest) -> Response:
    found, total = context().api_keys.page(caller(), bounds=query.bounds)
    return page_of(query, found, total, write_key)


@blueprint.delete("/<key_id>")
@operation(
    summary="Delete an API key",
    call=PublicCall(help="Delete keys. Every process refuses them within 2 seconds."),
    description="All processes refuse the key, and all keys created with it, within 2 seconds; the process that "
    "responds refuses them immediately.",
    record=KeyDeletedRecord(),
    failures=(404,),
    is_write=True,
    needs_payloads=True,
)
def delete(key_id: str) -> Response:
    record_change(write_key(context().api_keys.revoke(caller(), key_id)), "{}", _AUDITED)
    return responses.data(write_deleted(key_id))
