"""Schemas of what clients send: an unknown field is refused, and the message lists the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from marshmallow import Schema, ValidationError, fields

from ava.domain.limits.table import NAMED_ERRORS, Limit

__all__ = ["Entries", "NoBody", "NoParameters", "Strict"]


class Strict(Schema):
    """A schema of a body or of query parameters that refuses unknown fields."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names = ", ".join(field.data_key or name for name, field in self.load_fields.items())
        known = f"known are {names}" if names else "this route takes none"
        self.error_messages = self.error_messages | {
            "unknown": f"It is not known here; {known}.",
            "type": "It must be an object.",
        }

    def load(self, data: Any, **options: Any) -> Any:
        """Returns the loaded data. Of unknown fields no more are looked at than an error names."""
        max_fields = len(self.load_fields) + NAMED_ERRORS.value
        if isinstance(data, Mapping) and len(data) > max_fields:
            known = {field.data_key or name for name, field in self.load_fields.items()}
            unknown = islice((name for name in data if name not in known), NAMED_ERRORS.value)
            data = {name: data[name] for name in known if name in data} | {name: data[name] for name in unknown}
        return super().load(data, **options)


class Entries(fields.List[Any]):
    """A list whose number of entries is checked before the entries, and whose check stops after so many wrong ones."""

    def __init__(self, entry: Strict, *, limit: Limit, **rest: Any) -> None:
        super().__init__(fields.Nested(entry), **rest)
        self._limit = limit

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> list[Any]:  # noqa: ARG002 - marshmallow's names
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if not 1 <= len(value) <= self._limit.value:
            raise ValidationError(self._limit.message(f"There must be 1 to {self._limit.value} of them."))
        loaded: list[Any] = []
        wrong: dict[int, Any] = {}
        for index, entry in enumerate(value):
            try:
                loaded.append(self.inner.deserialize(entry, **options))
            except ValidationError as error:
                wrong[index] = error.messages
                if len(wrong) == NAMED_ERRORS.value:
                    break
        if wrong:
            raise ValidationError(wrong)
        return loaded


class NoParameters(Strict):
    """A route that takes no query parameters."""


class NoBody(Strict):
    """A route that takes no fields: its body is empty, or an empty object."""
