"""Keys of triggers, as clients send them: `dedupe` and `debounce`."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http.fields import Choice, WholeNumber
from ava.api.http.strict import Strict
from ava.api.schemas.setting_fields import QueryText
from ava.domain.jobs.trigger_options import (
    LONGEST_DEBOUNCE_SECONDS,
    LONGEST_KEY,
    LONGEST_WAIT_SECONDS,
    Debounce,
    Dedupe,
    DedupeMode,
    Keep,
)

_NULL: dict[str, Any] = {"null": "It must not be null."}
_KEY = "The jobs of one worker and key belong together. It is the tenant's own."


class DedupeBody(Strict):
    """One unfinished job at most has a worker and a key."""

    key = QueryText(longest=LONGEST_KEY, required=True, metadata={"description": _KEY})
    mode = Choice(
        DedupeMode,
        load_default=DedupeMode.RETURN,
        metadata={
            "description": "If an earlier job with the key is not final: `return` answers with it, `replace` cancels "
            "it while it is queued (409 if it runs, or waits while a job below it runs), `refuse` is 409."
        },
    )

    @post_load
    def _dedupe(self, values: dict[str, Any], **_: Any) -> Dedupe:
        return Dedupe(**values)


class DebounceBody(Strict):
    """One job for all triggers that follow each other within some seconds."""

    key = QueryText(longest=LONGEST_KEY, required=True, metadata={"description": _KEY})
    seconds = WholeNumber(
        minimum=1,
        maximum=LONGEST_DEBOUNCE_SECONDS,
        required=True,
        metadata={"description": "The job starts so long after the last trigger."},
    )
    max_seconds = WholeNumber(
        minimum=1,
        maximum=LONGEST_WAIT_SECONDS,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "It starts at most so long after the first trigger, whose `max_seconds` holds. Not less "
            "than `seconds`."
        },
    )
    keep = Choice(
        Keep,
        load_default=Keep.LAST,
        metadata={"description": "Whose input, priority, tags, `trigger` and user the job has."},
    )

    @post_load
    def _debounce(self, values: dict[str, Any], **_: Any) -> Debounce:
        if values["max_seconds"] is not None and values["max_seconds"] < values["seconds"]:
            raise ValidationError({"max_seconds": ["It must not be less than seconds."]})
        return Debounce(**values)


def dedupe_field() -> fields.Nested:
    """The field `dedupe` of a trigger."""
    return fields.Nested(DedupeBody(), load_default=None, allow_none=False, error_messages=_NULL)


def debounce_field() -> fields.Nested:
    """The field `debounce` of a trigger."""
    return fields.Nested(DebounceBody(), load_default=None, allow_none=False, error_messages=_NULL)


def refuse_two_rules(values: dict[str, Any]) -> None:
    """Raises `ValidationError` if a trigger has two rules for when its job is made or starts."""
    if values["debounce"] is None:
        return
    for name in ("dedupe", "scheduled_at"):
        if values[name] is not None:
            raise ValidationError({"debounce": [f"It must not be sent together with {name}."]})
