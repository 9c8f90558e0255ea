"""The permission to see payloads: what stands in place of each of them, and who sees them.

A field of a record whose value is a payload names one of the functions `hide_…` as `payload` in its metadata.
`ava.api.http.records` then writes the field whole for a caller who sees payloads, and by that function for another one.
Without a request there is no such caller, so what is written after a request must say whose it is.
"""

from __future__ import annotations

import json
from typing import Any

from flask import g, has_request_context

from ava.api.http.context import caller
from ava.domain.access.caller import Caller
from ava.domain.access.payloads import HIDDEN, without_payload
from ava.domain.jobs.job import Status
from ava.errors import PayloadsHidden

#: What a record has after its fields if one of them is hidden.
HIDDEN_FLAG = '"payload_hidden":true'
#: What a stream sends in place of the lines of a log.
HIDDEN_EVENT = "event: hidden\ndata: {}\n\n"

#: The fields of audit entries whose values are payloads.
_PAYLOADS_IN_CHANGES = ("input", "config", "match", "data", "body", "headers")
_NOTHING = "null"


def are_visible() -> bool:
    """Returns True if the caller of this request sees payloads; False without a request or a caller."""
    who: Caller | None = g.get("caller") if has_request_context() else None
    return who is not None and who.sees_payloads


def require() -> None:
    """Raises `PayloadsHidden` unless the caller of this request sees payloads."""
    if not caller().sees_payloads:
        raise PayloadsHidden


# What stands in place of a value: JSON text, from the record and the value -------------------------------------------


def hide_value(_record: Any, _value: Any) -> str:
    """Null."""
    return _NOTHING


def hide_text(_record: Any, value: Any) -> str:
    """A text that says that another one is hidden."""
    return _NOTHING if value is None else json.dumps(HIDDEN)


def hide_error(_record: Any, value: str | None) -> str:
    """The kind of an error without its reason."""
    return _NOTHING if value is None else json.dumps(without_payload(value))


def hide_job_error(job: Any, value: str | None) -> str:
    """Likewise, unless the system has cancelled the job: then the error is the system's own."""
    if job.status is Status.FAILED:
        return hide_error(job, value)
    return json.dumps(value)


def hide_progress(_record: Any, value: str | None) -> str:
    """Progress without its message."""
    return _NOTHING if value is None else json.dumps({**json.loads(value), "message": HIDDEN}, separators=(",", ":"))


def hide_waiting_for(_record: Any, value: str | None) -> str:
    """What a job waits for without the pattern of an event."""
    if value is None:
        return _NOTHING
    waiting_for: dict[str, Any] = json.loads(value)
    if waiting_for["event"] is not None:
        waiting_for["event"]["match"] = None
    return json.dumps(waiting_for)


def hide_answers(_record: Any, value: str) -> str:
    """The requests of a delivery without the bodies of their responses."""
    return json.dumps([{**each, "answer": HIDDEN} if each.get("answer") else each for each in json.loads(value)])


def hide_changes(_record: Any, value: str | None) -> str:
    """The changes of an audit entry without those of payloads."""
    if value is None:
        return _NOTHING
    changes: dict[str, Any] = json.loads(value)
    for name in changes.keys() & set(_PAYLOADS_IN_CHANGES):
        changes[name] = [HIDDEN, HIDDEN]
    if "filter" in changes:
        changes["filter"] = [_hidden_filter(each) for each in changes["filter"]]
    return json.dumps(changes)


def hide_filter(_record: Any, value: Any) -> str:
    """A filter without what it compares payloads with."""
    return json.dumps(_hidden_filter(dict(value)), separators=(",", ":"))


def _hidden_filter(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: HIDDEN if name in ("input", "error") else each for name, each in value.items()}


def hide_reason(_record: Any, value: str | None) -> str:
    """A reason without what it says of an input."""
    if value is None:
        return _NOTHING
    # The reason of a firing names its worker first; that of an event begins with the place that does not match.
    if value.startswith("input"):
        return json.dumps(HIDDEN)
    before, mark, _ = value.partition("refuses the input: ")
    return json.dumps(f"{before}{mark}{HIDDEN}" if mark else value)
