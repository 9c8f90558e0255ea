"""A row of an outbox, and the table interface that the relay uses."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from ava.client.methods import TriggerOptions
from ava.client.sent import sent_fields

#: The tag with the row's id on its job.
TAG = "outbox"
#: Max tags: a job has at most ten, and the outbox uses one.
MAX_TAGS = 9
#: Max bytes of a row's body: those of an input, and some for its options.
_MAX_BODY_BYTES = 1024 * 1024 + 16_384


@dataclass(frozen=True, kw_only=True)
class OutboxRow:
    """A job to trigger."""

    #: 32 hexadecimal digits that grow with time. It is the trigger's idempotency key and a tag of the job.
    id: str
    #: The JSON of the trigger.
    body: str
    #: Unix seconds of the next attempt; 0: immediately, None: never, because the API has refused it for good.
    next_at: float | None = 0.0
    #: Unix seconds shortly before the first attempt.
    first_sent_at: float | None = None
    attempts: int = 0
    #: Why it was not sent, or why it was refused.
    error: str | None = None


class OutboxTable(Protocol):
    """The outbox table in the application's database. Each call is a separate transaction."""

    def due(self, now: float, limit: int) -> Sequence[OutboxRow]:
        """Return the oldest rows that are due."""
        ...

    def record_sending(self, ids: Sequence[str], now: float) -> None:
        """Store the time of the first attempt of rows that have none."""

    def delete(self, row_ids: Sequence[str]) -> None:
        """Delete rows, because their jobs exist."""

    def record_failure(self, row_id: str, *, next_at: float | None, error: str) -> None:
        """Store a failure and the time of the next attempt."""


def new_row(worker_id: str, input: Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]) -> OutboxRow:
    """Return the row of a trigger, for the application's transaction.

    Raises `TypeError` for an unknown option, and `TypeError` or `ValueError` for values that JSON cannot represent, are
    too large, or exceed the outbox's max tags.
    """
    if not (isinstance(worker_id, str) and worker_id):
        raise ValueError("worker_id must be a string, such as wkr_receipt")
    if unknown := sorted(options.keys() - TriggerOptions.__annotations__.keys()):
        raise TypeError(f"a trigger of the outbox does not support {', '.join(unknown)}")
    tags = options.get("tags") or {}
    if len(tags) > MAX_TAGS or TAG in tags:
        raise ValueError(f"a job of the outbox has at most {MAX_TAGS} tags, because the outbox adds the tag {TAG}")
    body = json.dumps(sent_fields({"worker_id": worker_id, "input": input, **options}), allow_nan=False)
    if len(body) > _MAX_BODY_BYTES:
        raise ValueError(f"the trigger has {len(body)} bytes; at most {_MAX_BODY_BYTES} are accepted")
    return OutboxRow(id=f"{time.time_ns() // 1000:014x}{os.urandom(9).hex()}", body=body)
