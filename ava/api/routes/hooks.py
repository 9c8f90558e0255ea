"""`/v1/ava/hooks`: URLs that receive providers' webhooks, and their deliveries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.client_addresses import public_url
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery
from ava.api.routes import deliveries
from ava.api.routes.audit import record_change
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.deliveries import ReceivedDeliveryListQuery, ReplayBody
from ava.api.schemas.hooks import (
    HookBody,
    HookChangeBody,
    HookChangeRequest,
    HookDeletedRecord,
    HookRecord,
    HookRotateBody,
    HookTestBody,
    HookTestRecord,
    NewHookRequest,
    write_hook,
    write_test,
)
from ava.api.schemas.pause_fields import paused_list_query
from ava.domain.limits import table as limits
from ava.domain.secrets.redaction import HIDDEN
from ava.services.events.hooks import NewHook
from ava.store.delivery_table import DeliveryFilter

blueprint = Blueprint("hooks", __name__, url_prefix="/v1/ava/hooks")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<hook:hook_id>",
    noun="a hook",
    find=lambda: context().hooks,
    write=write_hook,
    record=HookRecord(),
)
#: The path that providers call; a token follows.
CALLS = "/v1/hooks"


@blueprint.post("")
@operation(
    summary="Create a hook",
    call=PublicCall(
        arguments="name provider",
        options={"provider": "--provider"},
        help="Create a hook. Its URL, and the secret if one is generated, are returned only once.",
        example="pulls --provider github",
    ),
    description="The response has the `url`, with a token that is shown only once, and the secret if the server "
    "generated it. Each delivery creates a job of `worker_id`, or an event for the subscriptions.",
    body=HookBody(),
    body_as="new",
    max_bytes=limits.SUBSCRIPTION_BODY_BYTES,
    record=HookRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
    is_outgoing=True,
    takes_key=True,
)
def create(new: NewHookRequest, key: str | None) -> Response:
    created, is_replay = context().hooks.create(caller(), new.spec, secret=new.secret, paused=new.paused, key=key)
    location = f"{blueprint.url_prefix}/{created.hook.id}"
    return responses.data(_write_once(created), 201, location=location, is_replay=is_replay)


def _write_once(new: NewHook) -> str:
    url = None if new.token is None else f"{public_url()}{CALLS}/{new.token}"
    return write_hook(replace(new.hook, url=url, secret=new.secret))


_calls.add_list(
    paused_list_query("hooks", "hk"),
    "paused",
    call=PublicCall(
        help="List hooks, newest first.", columns="id* name provider MAKES=makes PAUSED=is_paused created_at+"
    ),
)

_calls.add_show()


@blueprint.patch("/<hook:hook_id>")
@operation(
    summary="Update a hook",
    call=PublicCall(
        help="Change a hook, or give it a new secret. Earlier secrets stay valid for a while.",
        example="--new-secret",
    ),
    description="Changes only the fields in the body, within 2 s. After a new secret the previous one stays valid "
    "for `keep_secret_seconds` (default: a day); up to 4 secrets are valid together.",
    body=HookChangeBody(),
    body_as="asked",
    max_bytes=limits.SUBSCRIPTION_BODY_BYTES,
    record=HookRecord(),
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(hook_id: str, asked: HookChangeRequest) -> Response:
    before = write_hook(context().hooks.show(caller(), hook_id))
    changed = context().hooks.change(
        caller(), hook_id, asked.changes, secret=asked.secret, keep_secret_seconds=asked.keep_secret_seconds
    )
    hidden: dict[str, Any] = {} if asked.secret is None else {"secret": (HIDDEN, HIDDEN)}
    names = set(HookChangeBody().fields) - {"secret", "keep_secret_seconds"}
    record_change(before, write_hook(changed), names, hidden=hidden)
    return responses.data(write_hook(changed))


_calls.add_pauses(
    pause="The hook still accepts deliveries, and stores them as `skipped`: they start nothing until they are "
    "replayed. Applies within 2 s.",
    resume="Deliveries from now on are processed, within 2 s. Earlier ones can be replayed.",
    needs_payloads=True,
)


@blueprint.post("/<hook:hook_id>/rotate")
@operation(
    summary="Rotate a hook's URL",
    call=PublicCall(
        method="hooks.rotate",
        help="Give a hook a new URL, which is returned only once; the earlier one stays valid for a while.",
        example="--keep-seconds 3600",
    ),
    description="The response has the new `url`; a repeated response for an Idempotency-Key does not. The previous "
    "address stops working within 2 s, or after `keep_seconds`.",
    body=HookRotateBody(),
    body_as="keep_seconds",
    may_be_empty=True,
    record=HookRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
    needs_payloads=True,
    takes_key=True,
)
def rotate(hook_id: str, keep_seconds: int, key: str | None) -> Response:
    rotated, is_replay = context().hooks.rotate(caller(), hook_id, keep_seconds=keep_seconds, key=key)
    return responses.data(_write_once(rotated), is_replay=is_replay)


_calls.add_delete(
    "Deletes the hook with its secret: its address stops working within 2 s. Its jobs and events are retained.",
    HookDeletedRecord(),
    needs_payloads=True,
)


deliveries.add_reads(
    _calls,
    lambda: context().received_deliveries,
    ReceivedDeliveryListQuery(),
    listed="Newest first, including refused and skipped deliveries, without bodies.",
    shown="The delivery with its body.",
)


@blueprint.post("/<hook:hook_id>/deliveries/<delivery_id>/replay")
@operation(
    summary="Replay a delivery",
    call=PublicCall(help="Process a delivery again, with the current subscriptions."),
    description="Processes the delivery again with the present subscriptions, even if it was refused or skipped, or "
    "is a duplicate. The response is the new delivery. Its signature is checked with the present secrets; its "
    "timestamp is not checked.",
    takes_key=True,
    **deliveries.AGAIN,
)
def replay(hook_id: str, delivery_id: str, key: str | None) -> Response:
    made, is_repeated = context().received_deliveries.replay(caller(), hook_id, delivery_id, key)
    return deliveries.accepted(made, is_repeated=is_repeated)


@blueprint.post("/<hook:hook_id>/deliveries/replay")
@operation(
    summary="Replay many deliveries",
    call=PublicCall(
        method="hooks.deliveries.replay_many",
        command="deliveries replay",
        arguments="since",
        help="Process the deliveries of a time range again, all or none.",
    ),
    description="Replays the deliveries of a time range, all or none. Duplicates, earlier replays and deliveries "
    "with an invalid signature are left out.",
    body=ReplayBody(),
    takes_key=True,
    **deliveries.MANY_AGAIN,
)
def replay_many(hook_id: str, wanted: DeliveryFilter, key: str | None) -> Response:
    total, is_repeated = context().received_deliveries.replay_many(caller(), hook_id, wanted, key)
    return deliveries.accepted(total, is_repeated=is_repeated)


@blueprint.post("/<hook:hook_id>/test")
@operation(
    summary="Test a hook",
    call=PublicCall(
        options={"headers": "--header"},
        help="Send a test request to a hook, in its provider's format. It starts the same jobs as a real one.",
        example="--mode tampered",
        is_repeatable=False,
    ),
    description="Creates a request like the sender's (signed, changed after signing, or unsigned) and receives it, "
    "with the same effects as a real delivery.",
    body=HookTestBody(),
    body_as="asked",
    may_be_empty=True,
    record=HookTestRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
    needs_payloads=True,
)
def test(hook_id: str, asked: dict[str, Any]) -> Response:
    return responses.data(write_test(context().received_deliveries.send_test(caller(), hook_id, **asked)))
