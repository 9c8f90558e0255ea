"""API keys: what clients send and what they get back."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError, post_load

from ava.api.http import cursors
from ava.api.http.fields import Flag, Id, Instant, Text
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.domain.access.api_key import LONGEST_NAME, ApiKeySpec
from ava.domain.access.caller import Role

__all__ = ["KeyBody", "KeyDeletedRecord", "KeyListQuery", "KeyRecord", "NewKeyRecord", "write_key", "write_new_key"]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ROLES = [role.header for role in Role]


class _KeyName(Text):
    """A name that people give."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or _UNPRINTABLE.search(value):
            raise ValidationError(f"It must be a text of 1 to {LONGEST_NAME} printable characters.")
        return value


class _RoleName(Text):
    """A role."""

    def read(self, value: Any) -> Role:
        if not isinstance(value, str) or (role := Role.parse(value)) is None:
            raise ValidationError(f"It must be one of {', '.join(_ROLES)}.")
        return role


class KeyBody(Strict):
    """An API key to create."""

    name = _KeyName(
        required=True,
        metadata={"description": "A name for people.", "minLength": 1, "maxLength": LONGEST_NAME},
    )
    role = _RoleName(
        required=True, metadata={"description": "What the key may do; no role above the caller's.", "enum": _ROLES}
    )
    expires_at = Instant(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "From when on it is refused; null for never. A "
            "key that is made with another one ends with that one at the latest."
        },
    )

    payloads = Flag(
        load_default=True,
        metadata={
            "description": "False: its holder sees no payload, which is null or `(hidden)` with `payload_hidden: true`."
        },
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> ApiKeySpec:
        return ApiKeySpec(**values)


class KeyListQuery(PageQuery):
    """The parameters of the list of API keys."""

    cursor = cursor_field(cursors.id_reader("key"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PageRequest:
        return PageRequest(**take_page(values))


# Out -------------------------------------------------------------------------------------------------------------


class KeyRecord(Schema):
    """An API key."""

    id = Id("key")
    name = Text()
    role = Text(attribute="role_name", metadata={"enum": _ROLES})
    prefix = Text(metadata={"description": "The 16 characters of its token that follow the dot. They are no secret."})
    created_by = Id("usr", "key", metadata={"description": "The user, or the key, that created it."})
    created_at = Instant()
    expires_at = Instant(allow_none=True)
    last_used_at = Instant(allow_none=True, metadata={"description": "At most a minute behind."})
    payloads = Flag(metadata={"description": "Whether its holder sees payloads."})


class NewKeyRecord(KeyRecord):
    """An API key that was just created."""

    token = Text(
        allow_none=True,
        metadata={
            "description": "`ava_`, two characters that name the installation, a dot, the 16 of `prefix`, and 43 "
            "that are secret. Shown once: null if the answer repeats an earlier one with the same "
            "Idempotency-Key."
        },
    )


class KeyDeletedRecord(Schema):
    """The API key that was revoked."""

    id = Id("key")
    deleted = Flag()


write_key = compile_schema(KeyRecord())
write_new_key = compile_schema(NewKeyRecord())
