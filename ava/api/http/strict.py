"""Schemas of what clients send: an unknown field is refused, and the message lists the known ones."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema

__all__ = ["NoBody", "NoParameters", "Strict"]


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


class NoParameters(Strict):
    """A route that takes no query parameters."""


class NoBody(Strict):
    """A route that takes no fields: its body is empty, or an empty object."""
