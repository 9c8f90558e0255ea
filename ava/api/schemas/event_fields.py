"""Fields of events, subscriptions and hooks: types, patterns and templates. Errors name the path of a value."""

from __future__ import annotations

from functools import partial
from typing import Any

from marshmallow import ValidationError

from ava.api.http.fields import CheckedString, Plain
from ava.domain.events.event import compact_json, is_client_type
from ava.domain.events.pattern_rules import PatternError
from ava.domain.events.patterns import compile_pattern
from ava.domain.events.subscription import is_event_type
from ava.domain.events.templates import TemplateError, compile_template
from ava.domain.limits.table import INPUT_BYTES
from ava.errors import PayloadTooLarge

#: The type of an event.
EventTypeField = partial(
    CheckedString, is_client_type, "It must be 1 to 200 visible ASCII characters, and not begin with `ava.`."
)
#: The type of the events of a subscription.
SubscribedTypeField = partial(
    CheckedString,
    is_event_type,
    "It must be an event type: 1 to 200 visible ASCII characters that do not begin with `ava.`. A final `.*` matches "
    "any further parts.",
)


class JsonValue(Plain):
    """Any JSON value, stored as ASCII JSON."""

    def read(self, value: Any) -> str:
        try:
            json_string = compact_json(value)
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None
        if len(json_string) > INPUT_BYTES.value:
            raise PayloadTooLarge(
                INPUT_BYTES.message(f"The data is too large; at most {INPUT_BYTES.value:,} bytes are accepted here.")
            )
        return json_string


class PatternField(Plain):
    """A pattern over events, stored as JSON."""

    def read(self, value: Any) -> str:
        try:
            compile_pattern(value)
            return compact_json(value)
        except PatternError as error:
            raise _at(error.path, error.reason) from None
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None


class TemplateField(Plain):
    """A template of an input, stored as JSON."""

    def read(self, value: Any) -> str:
        try:
            compile_template(value)
            return compact_json(value)
        except TemplateError as error:
            raise _at(error.path, error.reason) from None
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None


def _at(path: str, reason: str) -> ValidationError:
    return ValidationError({path: [reason]} if path else reason)
