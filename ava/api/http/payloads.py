"""The permission to see payloads, and the placeholder of each hidden payload.

A record's payload field names a `hide_…` function as `payload` in its metadata. `ava.api.http.records` writes the
value if the caller sees payloads, and otherwise the function's placeholder. Outside a request there is no caller, and
payloads are hidden.
"""

from __future__ import annotations

import json
from typing import Any

from flask import g, has_request_context

from ava.api.http.context import caller
from ava.domain.access.caller import Caller
from ava.domain.jobs.job import Status
from ava.domain.secrets.redaction import HIDDEN_PAYLOAD, without_payload
from ava.errors import PayloadsHidden

#: The last member of a record with a hidden field.
HIDDEN_FLAG = '"payload_hidden":true'
#: The only event of a log stream with hidden lines.
HIDDEN_EVENT = "event: hidden\ndata: {}\n\n"

#: The payload fields of an audit entry's changes.
_PAYLOADS_IN_CHANGES = ("input", "config", "match", "data", "body", "headers")
_NOTHING = "null"


def are_visible() -> bool:
    """Return True if the caller of this request sees payloads; False without a request or a caller."""
    who: Caller | None = g.get("caller") if has_request_context() else None
    return who is not None and who.sees_payloads


def require() -> None:
    """Raise `PayloadsHidden` unless the caller of this request sees payloads."""
    if not caller().sees_payloads:
        raise PayloadsHidden


# Placeholders: each function gets the record and the value, and returns JSON ----------------------------------------


def hide_value(_record: Any, _value: Any) -> str:
    return _NOTHING


def hide_string(_record: Any, value: Any) -> str:
    """Return the string that replaces a hidden value."""
    return _NOTHING if value is None else json.dumps(HIDDEN_PAYLOAD)


def hide_error(_record: Any, value: str | None) -> str:
    """Return the kind of an error without its reason."""
    return _NOTHING if value is None else json.dumps(without_payload(value))


def hide_job_error(job: Any, value: str | None) -> str:
    """Return the kind of a failed job's error. The system wrote the error of a cancelled job, which stays visible."""
    if job.status is Status.FAILED:
        return hide_error(job, value)
    return json.dumps(value)


def hide_progress(_record: Any, value: str | None) -> str:
    """Return progress without its message."""
    return (
        _NOTHING
        if value is None
        else json.dumps({**json.loads(value), "message": HIDDEN_PAYLOAD}, separators=(",", ":"))
    )


def hide_waiting_for(_record: Any, value: str | None) -> str:
    """Return `waiting_for` without the pattern of the event."""
    if value is None:
        return _NOTHING
    waiting_for: dict[str, Any] = json.loads(value)
    if waiting_for["event"] is not None:
        waiting_for["event"]["match"] = None
    return json.dumps(waiting_for)


def hide_responses(_record: Any, value: str | None) -> str:
    """Return the requests of a delivery without the bodies of their responses."""
    if value is None:
        return _NOTHING
    return json.dumps(
        [{**each, "answer": HIDDEN_PAYLOAD} if each.get("answer") else each for each in json.loads(value)]
    )


def hide_changes(_record: Any, value: str | None) -> str:
    """Return the changes of an audit entry with its payload fields hidden."""
    if value is None:
        return _NOTHING
    changes: dict[str, Any] = json.loads(value)
    for name in changes.keys() & set(_PAYLOADS_IN_CHANGES):
        changes[name] = [HIDDEN_PAYLOAD, HIDDEN_PAYLOAD]
    if "filter" in changes:
        changes["filter"] = [_hidden_filter(each) for each in changes["filter"]]
    return json.dumps(changes)


def hide_filter(_record: Any, value: Any) -> str:
    """Return a filter without the values that it compares with inputs and errors."""
    return json.dumps(_hidden_filter(dict(value)), separators=(",", ":"))


def _hidden_filter(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: HIDDEN_PAYLOAD if name in ("input", "error") else each for name, each in value.items()}


def hide_reason(_record: Any, value: str | None) -> str:
    """Return a reason without the part that describes an input."""
    if value is None:
        return _NOTHING
    # The reason of a schedule's firing begins with its worker, an event's reason with the path that does not match.
    if value.startswith("input"):
        return json.dumps(HIDDEN_PAYLOAD)
    before, mark, _ = value.partition("refuses the input: ")
    return json.dumps(f"{before}{mark}{HIDDEN_PAYLOAD}" if mark else value)
