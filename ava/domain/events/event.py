"""Events, as they are sent, stored, and seen by patterns and templates, and the paths to their values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ava.domain.record import format_time
from ava.domain.secrets.redaction import redact

#: The types of this service's own events begin with it; no client posts one.
OWN_PREFIX = "ava."
_TYPE = re.compile(r"[\x21-\x7e]{1,200}")
#: The source of an event whose sender names none.
DEFAULT_SOURCE = "/"
#: Characters of a sender's id, and of a source or a subject.
MAX_ID_CHARS = 255
MAX_TEXT_CHARS = 1_000
#: The most names of a path.
MAX_PATH_NAMES = 32
#: What `find_at_path` returns where nothing is.
MISSING: Any = object()


def is_client_type(text: str) -> bool:
    """Returns True if a text is the type of an event that a client may send."""
    return bool(_TYPE.fullmatch(text)) and not text.startswith(OWN_PREFIX)


def compact_json(value: Any) -> str:
    """Returns a value as JSON text in ASCII. Raises `ValueError` for a number that is too large for a double."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def source_of_hook(hook_id: str) -> str:
    """Returns the source of the events of a hook."""
    return f"/hooks/{hook_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSpec:
    """An event as a client sends it."""

    type: str
    source: str = DEFAULT_SOURCE
    #: The sender's own id; None: the event is not compared with earlier ones.
    source_id: str | None = None
    subject: str | None = None
    time: datetime | None = None
    #: Any JSON value, as text.
    data_json: str = "null"
    #: The extensions of CloudEvents, an object, as JSON text.
    extensions_json: str = "{}"
    #: The headers of the request to a hook, an object of texts, as JSON text; None of other events.
    headers_json: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A job that an event could not make."""

    subscription_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundEvent:
    """An event that is stored."""

    id: str
    tenant_id: str
    spec: EventSpec
    created_at: datetime
    #: The jobs that it made so far.
    job_ids: Sequence[str] = ()
    refused: Sequence[Refusal] = ()
    #: The first jobs whose handlers waited for it and got it, if they were read.
    woken_job_ids: Sequence[str] = ()
    #: The subscriptions that matched and whose jobs were still to be made when the event was stored.
    more: int = 0
    #: Bytes of the inputs of its jobs so far.
    copied_bytes: int = 0
    #: The delivery of a hook that it came with.
    delivery_id: str | None = None
    #: Whether an earlier request had the same source and id.
    is_duplicate: bool = False
    traceparent: str | None = None

    @property
    def type(self) -> str:
        """Returns its type."""
        return self.spec.type

    def record(self) -> dict[str, Any]:
        """Returns what patterns, templates and handlers see."""
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
    """Returns what was sent without the credentials in it, for callers who may not see them."""
    data_json = compact_json(redact(json.loads(spec.data_json)))
    headers = None if spec.headers_json is None else compact_json(redact(json.loads(spec.headers_json)))
    return replace(spec, data_json=data_json, headers_json=headers)


def split_path(path: object) -> tuple[str, ...] | None:
    """Returns the names of a path; None if the value is no path."""
    names = path.split(".") if isinstance(path, str) else path
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_PATH_NAMES:
        return None
    return tuple(names) if all(isinstance(name, str) and name for name in names) else None


def find_at_path(value: Any, names: Sequence[str]) -> Any:
    """Returns the value at a path; `MISSING` if there is none. A number is a position in a list, from 0."""
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
