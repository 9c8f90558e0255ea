"""Events as sent, as stored, and as seen by patterns and templates, and paths to their values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ava.domain.access.actor import SYSTEM
from ava.domain.record import about, format_time
from ava.domain.secrets.redaction import redact

#: The prefix of this service's own event types, which no client may send.
OWN_PREFIX = "ava."
_TYPE = re.compile(r"[\x21-\x7e]{1,200}")
DEFAULT_SOURCE = "/"
#: Max characters of a sender's id, and of a source or subject.
MAX_ID_CHARS = 255
MAX_TEXT_CHARS = 1_000
MAX_PATH_NAMES = 32
#: The result of `find_at_path` if the path does not exist.
MISSING: Any = object()


def is_client_type(string: str) -> bool:
    """Return True if the string is an event type that a client may send."""
    return bool(_TYPE.fullmatch(string)) and not string.startswith(OWN_PREFIX)


def compact_json(value: Any) -> str:
    """Return a value as compact ASCII JSON. Raise `ValueError` for a number too large for a double."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def source_of_hook(hook_id: str) -> str:
    return f"/hooks/{hook_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSpec:
    """An event as a client sends it."""

    type: str = field(metadata=about("The type of the event, such as `order.paid`. The prefix `ava.` is reserved."))
    source: str = field(
        default=DEFAULT_SOURCE,
        metadata={"description": "The sender of the event, a URI reference.", "longest": MAX_TEXT_CHARS},
    )
    #: None: no deduplication.
    source_id: str | None = field(default=None, metadata=about("The sender's own id of the event."))
    subject: str | None = field(
        default=None,
        metadata={
            "description": "The subject of the event, such as the id of an order.",
            "longest": MAX_TEXT_CHARS,
        },
    )
    time: datetime | None = field(default=None, metadata=about("When it happened."))
    data_json: str = field(default="null", metadata={"description": "Any JSON value.", "form": {}, "payload": "value"})
    #: The CloudEvents extensions.
    extensions_json: str = field(default="{}", metadata={"payload": "value"})
    headers_json: str | None = field(
        default=None,
        metadata={
            "description": "The headers of the request that a hook received; otherwise null.",
            "payload": "value",
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A job that an event failed to create."""

    subscription_id: str = field(metadata={"prefix": "sub", "description": "The subscription."})
    reason: str = field(metadata={"payload": "reason"})


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundEvent:
    id: str = field(metadata={"prefix": "evt"})
    tenant_id: str
    spec: EventSpec = field(metadata={"flat": True})
    created_at: datetime
    #: The jobs that it has created so far.
    job_ids: Sequence[str] = field(default=(), metadata={"prefix": "job"})
    refused: Sequence[Refusal] = ()
    woken_job_ids: Sequence[str] = field(
        default=(),
        metadata={
            "description": "The waiting jobs (`env.wait_event`) that received the event, at most 100.",
            "prefix": "job",
        },
    )
    #: Matching subscriptions without a job yet when the event was stored.
    more_count: int = field(
        default=0,
        metadata={"description": "The number of further jobs, created within the next 5 seconds.", "maximum": 2**31},
    )
    #: Total bytes of the inputs of its jobs so far.
    copied_bytes: int = 0
    delivery_id: str | None = field(
        default=None,
        metadata={"description": "The hook delivery that contained the event; otherwise null.", "prefix": "del"},
    )
    is_duplicate: bool = field(
        default=False,
        metadata={
            "description": "True if an earlier event has the same source and id. The response then describes the "
            "earlier event.",
            "name": "duplicate",
        },
    )
    traceparent: str | None = None
    #: Its sender, as `actor.join` writes it; with a hook, the hook's creator and the user who replayed the delivery.
    sender: str = SYSTEM.text

    @property
    def type(self) -> str:
        return self.spec.type

    def record(self) -> dict[str, Any]:
        """Return the event as patterns, templates and handlers see it."""
        spec = self.spec
        return {
            "id": self.id,
            "source_id": spec.source_id,
            "type": spec.type,
            "source": spec.source,
            "subject": spec.subject,
            "time": format_time(spec.time),
            "data": json.loads(spec.data_json),
            "extensions": json.loads(spec.extensions_json),
            "headers": None if spec.headers_json is None else json.loads(spec.headers_json),
            "created_at": format_time(self.created_at),
        }


def redacted(spec: EventSpec) -> EventSpec:
    """Mask the credentials in an event, for callers who may not see them."""
    data_json = compact_json(redact(json.loads(spec.data_json)))
    headers = None if spec.headers_json is None else compact_json(redact(json.loads(spec.headers_json)))
    return replace(spec, data_json=data_json, headers_json=headers)


def split_path(path: object) -> tuple[str, ...] | None:
    """Return the names of a path; None if the value is not a path."""
    names = path.split(".") if isinstance(path, str) else path
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_PATH_NAMES:
        return None
    return tuple(names) if all(isinstance(name, str) and name for name in names) else None


def find_at_path(value: Any, names: Sequence[str]) -> Any:
    """Return the value at a path, or `MISSING`. A number is an index into a list, from 0."""
    for name in names:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10:
            position = int(name)
            value = value[position] if position < len(value) else MISSING
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value
