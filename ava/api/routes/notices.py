"""`/v1/ava/notices`: messages to people about events of their tenant, and the outcome of each delivery."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes import deliveries
from ava.api.routes.audit import record_change
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.deliveries import DeliveryRecord, write_delivery
from ava.api.schemas.notices import (
    DeletedNoticeRecord,
    NoticeBody,
    NoticeChangeBody,
    NoticeDeliveryListQuery,
    NoticeRecord,
    NoticeRedeliverBody,
    write_notice,
)
from ava.api.schemas.pause_fields import paused_list_query
from ava.domain.limits import table as limits
from ava.domain.secrets.redaction import HIDDEN

blueprint = Blueprint("notices", __name__, url_prefix="/v1/ava/notices")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<notice_id>",
    noun="a notice",
    find=lambda: context().notices,
    write=write_notice,
    record=NoticeRecord(),
)


@blueprint.post("")
@operation(
    summary="Create a notice",
    call=PublicCall(
        arguments="name channel target on",
        options={"channel": "--channel", "on": "--on"},
        defaults={"on": [{"event": "job.failed"}]},
        help="Create a notice, by default about failed jobs.\n\nThe target (an address of Slack or Teams, mail "
        "addresses, a URL) is not an argument, because every process of the machine can read the arguments of "
        "the others.",
        example="on-call --channel slack --on job.failed",
    ),
    description="The notice sends messages about events from now on: the first immediately, and at the end of each "
    "time window one with the number of events since then. Messages contain names, ids and a link, and no payload.",
    body=NoticeBody(),
    body_as="fields",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=NoticeRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
    is_outgoing=True,
    takes_key=True,
)
def create(fields: dict[str, Any], key: str | None) -> Response:
    notice, is_replay = context().notices.create(caller(), **fields, key=key)
    return _calls.created(notice, is_replay=is_replay)


_calls.add_list(
    paused_list_query("notices", "ntc"),
    "paused",
    call=PublicCall(
        help="List notices, newest first.",
        columns="id* STATUS=status_or_paused* name channel target ON=rules created_at+",
    ),
)

_calls.add_show()


@blueprint.patch("/<notice_id>")
@operation(
    summary="Update a notice",
    call=PublicCall(
        help="Change the name, the channel, the target or the rules of a notice. A new channel needs a target.",
        example="--on job.failed --on schedule.disabled",
    ),
    description="Changes only the fields in the body. A new channel needs a target. New rules (`on`) start new time "
    "windows.",
    body=NoticeChangeBody(),
    body_as="changes",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=NoticeRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(notice_id: str, changes: dict[str, Any]) -> Response:
    before, changed = context().notices.change(caller(), notice_id, **changes)
    hidden = {"target": (HIDDEN, HIDDEN)} if "target" in changes else {}
    record_change(write_notice(before), write_notice(changed), ("name", "channel", "on"), hidden=hidden)
    return responses.data(write_notice(changed))


_calls.add_pauses(
    pause="Sends no messages. Pending deliveries are retained; events are not counted.",
    resume="Sends the pending deliveries of the notice, and messages about events from now on.",
    needs_payloads=True,
)
_calls.add_delete(
    "Deletes the notice and its target. Nothing more is sent.", DeletedNoticeRecord(), needs_payloads=True
)


@blueprint.post("/<notice_id>/test")
@operation(
    summary="Test a notice",
    call=PublicCall(
        help="Send a test message, which is retried like any other.", example="--wait", is_repeatable=False
    ),
    description="Sends a test message, which is retried like any other. The notice's deliveries show the outcome.",
    body=NoBody(),
    may_be_empty=True,
    record=DeliveryRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def test(notice_id: str) -> Response:
    return responses.data(write_delivery(context().notices.send_test(caller(), notice_id)), 201)


deliveries.add_reads(
    _calls,
    lambda: context().notice_deliveries,
    NoticeDeliveryListQuery(),
    listed="Newest first, each with its requests (`attempts`), without bodies.",
    shown="The delivery with its message: the body of the channel `webhook`, from which the others are rendered.",
)
deliveries.add_redeliveries(
    _calls, lambda: context().notice_deliveries, NoticeRedeliverBody(), noun="a message", same="the same message"
)
