"""`/v1/hooks/<token>`: requests of providers. They lack our headers; the token identifies the tenant."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from ava.api.http import body, request_turns, responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.client_addresses import client_address
from ava.api.http.context import context
from ava.api.http.operations import described
from ava.api.routes.hooks import CALLS
from ava.api.schemas.hooks import ReceiptRecord, write_receipt
from ava.domain.events.hook import Received
from ava.domain.limits.table import HOOK_BODY_BYTES
from ava.errors import HookUnknown, PayloadTooLarge, SignatureRefused
from ava.services.events.hooks import OpenHook
from ava.services.events.receiving import caller_of

blueprint = Blueprint("hook_calls", __name__, url_prefix=CALLS)

_MAX_CHALLENGE = 1_024
_ORIGIN = "WebHook-Request-Origin"


@blueprint.post("/<token>")
@open_to_all
@described(
    summary="Send to a hook",
    call=None,
    description="The endpoint for a provider's deliveries. The hook checks signature, time and id by the provider's "
    "rules; no other credential is needed. The delivery is durable before the response, which has a special form for "
    "some providers.",
    record=ReceiptRecord(),
    status=202,
    failures=(404, 413),
)
def receive(token: str) -> Response:
    """Receive a request."""
    opened = _open(token)
    hook, address = opened.hook, client_address()
    length = request.content_length or 0
    if length > HOOK_BODY_BYTES.value:
        context().receiving.refuse_large(opened, _received(token, b""), address=address, size=length)
    try:
        raw = body.raw_bytes(HOOK_BODY_BYTES)
    except PayloadTooLarge:
        context().receiving.refuse_large(opened, _received(token, b""), address=address, size=HOOK_BODY_BYTES.value + 1)
        raise
    try:
        receipt = context().receiving.receive(opened, _received(token, raw), address=address)
    except SignatureRefused:
        context().hook_gate.admit_address(address)
        raise
    if receipt.handshake is not None:
        return _plain_response(receipt.handshake)
    row = hook.verifier
    if row.answer_text is not None:
        return _plain_response(row.answer_text, row.answer_status)
    return responses.data(write_receipt(receipt), row.answer_status)


@blueprint.get("/<token>")
@open_to_all
def challenge(token: str) -> Response:
    """Answer a challenge, if the hook's verifier names its parameter."""
    row = _open(token).hook.verifier
    if row.challenge is None or not (given := request.args.get(row.challenge, "")):
        raise HookUnknown("This URL does not support GET; send with POST.")
    return _plain_response(given[:_MAX_CHALLENGE])


@blueprint.route("/<token>", methods=["OPTIONS"])
@open_to_all
def validate(token: str) -> Response:
    """Answer the validation of CloudEvents (HTTP 1.1 Web Hooks for Event Delivery, section 4)."""
    _open(token)
    response = Response(status=204)
    response.headers["Allow"] = "GET, OPTIONS, POST"
    if origin := request.headers.get(_ORIGIN):
        response.headers["WebHook-Allowed-Origin"] = origin[:_MAX_CHALLENGE]
        response.headers["WebHook-Allowed-Rate"] = "*"
    return response


def _open(token: str) -> OpenHook:
    """Return the hook of a token, and assign the request to its tenant.

    An address has a limit only for invalid requests, because the tenants behind one provider share its addresses. The
    limit is checked before the database is read, but not for tokens that were valid within the last hour.
    """
    found, address = context(), client_address()
    if not found.hooks.was_found(token):
        found.hook_gate.refuse_spent_address(address)
    try:
        opened = found.hooks.find(token)
    except HookUnknown:
        found.hook_gate.admit_address(address)
        raise
    found.hook_gate.admit_hook(opened.hook.id)
    g.caller = caller_of(opened.hook)
    request_turns.take_turn()
    return opened


def _received(token: str, raw: bytes) -> Received:
    settings = context().settings
    query = request.query_string.decode("latin-1")
    url = f"{settings.public_url}{CALLS}/{token}{'?' if query else ''}{query}"
    return Received(
        headers={name.lower(): value for name, value in request.headers.items()},
        body=raw,
        query=request.args.to_dict(),
        method=request.method,
        url=url,
    )


def _plain_response(body: str, status: int = 200) -> Response:
    return Response(body, status, mimetype="text/plain")
