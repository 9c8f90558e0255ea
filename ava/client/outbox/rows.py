"""A row of an outbox, and what the relay asks of the table that holds it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from ava.client.sent import TriggerOptions, trigger_entry

#: The tag of a job that is its row's id.
TAG = "outbox"
#: A job has ten tags at most, of which the outbox takes one.
MAX_TAGS = 9
#: The most bytes of a row's body: those of an input, and some for its options.
_MAX_BODY_BYTES = 1024 * 1024 + 16_384


@dataclass(frozen=True, kw_only=True)
class OutboxRow:
    """A job that is to be triggered."""

    #: 32 hexadecimal digits that grow with time. It is the idempotency key of the trigger, and a tag of the job.
    id: str
    #: The JSON of the trigger.
    body: str
    #: When it is sent next, in Unix seconds; 0: at once, None: never, because the API has refused it for good.
    next_at: float | None = 0.0
    #: When it was about to be sent for the first time, in Unix seconds.
    first_sent_at: float | None = None
    attempts: int = 0
    #: Why it was not sent, or was refused.
    error: str | None = None


class OutboxTable(Protocol):
    """The table of an outbox in the application's database. Each call is a transaction of its own."""

    def due(self, now: float, limit: int) -> Sequence[OutboxRow]:
        """Returns the oldest rows whose time has come."""

    def note_sending(self, ids: Sequence[str], now: float) -> None:
        """Note that rows are about to be sent, where that is not noted yet."""

    def delete(self, row_ids: Sequence[str]) -> None:
        """Delete rows, because their jobs exist."""

    def put_off(self, row_id: str, *, next_at: float | None, error: str) -> None:
        """Note a failure, and when the row is sent next."""


def new_row(worker_id: str, input: Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]) -> OutboxRow:
    """Returns the row of a trigger, for the application's transaction.

    Raises `TypeError` for an option that a trigger does not have, and `TypeError` or `ValueError` for what JSON cannot
    carry, is too large, or has more tags than the outbox leaves.
    """
    if not (isinstance(worker_id, str) and worker_id):
        raise ValueError("worker_id must be a text, such as wkr_receipt")
    if unknown := sorted(options.keys() - TriggerOptions.__annotations__.keys()):
        raise TypeError(f"a trigger of an outbox has no {', '.join(unknown)}")
    tags = options.get("tags") or {}
    if len(tags) > MAX_TAGS or TAG in tags:
        raise ValueError(f"a job of an outbox has at most {MAX_TAGS} tags, because the outbox takes the tag {TAG}")
    body = json.dumps(trigger_entry({"worker_id": worker_id, "input": input, **options}), allow_nan=False)
    if len(body) > _MAX_BODY_BYTES:
        raise ValueError(f"the trigger has {len(body)} bytes, more than {_MAX_BODY_BYTES}")
    return OutboxRow(id=f"{time.time_ns() // 1000:014x}{os.urandom(9).hex()}", body=body)
