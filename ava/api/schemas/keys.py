"""API keys: schemas of requests and responses."""

from __future__ import annotations

import json
import re
from typing import Any

from marshmallow import Schema, ValidationError, post_load

from ava.api.http import paging
from ava.api.http.fields import Choice, Flag, Id, Instant, JsonText, Plain, Text
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.setting_fields import Scope
from ava.domain.access.api_key import LONGEST_NAME, ApiKey, ApiKeySpec
from ava.domain.access.caller import Role
from ava.domain.limits.table import WORKERS_PER_KEY

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ROLES = [role.header for role in Role]
WORKER_ID = re.compile(r"wkr_[a-z][a-z0-9_]{0,58}")


class _KeyName(Text):
    """A human-readable name."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or _UNPRINTABLE.search(value):
            raise ValidationError(f"It must be a text of 1 to {LONGEST_NAME} printable characters.")
        return value


class _RoleName(Text):
    """A role."""

    def read(self, value: Any) -> Role:
        if not isinstance(value, str) or (role := Role.of_key(value)) is None:
            raise ValidationError(f"It must be one of {', '.join(_ROLES)}.")
        return role


class WorkerIds(Plain):
    """A list of ids of workers."""

    def read(self, value: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= WORKERS_PER_KEY.value:
            raise ValidationError(WORKERS_PER_KEY.message(f"It must be a list of 1 to {WORKERS_PER_KEY.value} ids."))
        if not all(isinstance(each, str) and WORKER_ID.fullmatch(each) for each in value):
            raise ValidationError("Each must be the id of a worker, such as wkr_resize.")
        return list(dict.fromkeys(value))


class KeyBody(Strict):
    """An API key to create."""

    name = _KeyName(
        required=True,
        metadata={"description": "A name for people.", "minLength": 1, "maxLength": LONGEST_NAME},
    )
    role = _RoleName(
        required=True,
        metadata={
            "description": "What the key may do; no role above the caller's. `worker` claims and ends "
            "runs, and nothing else.",
            "enum": _ROLES,
        },
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
    workers = WorkerIds(
        load_default=None,
        allow_none=True,
        metadata={
            "type": "array",
            "items": {"type": "string", "pattern": f"^{WORKER_ID.pattern}$"},
            "minItems": 1,
            "maxItems": WORKERS_PER_KEY.value,
            "description": "With the role `worker` alone, which needs it: the workers with the runtime `pull` whose "
            "runs the key may claim.",
        },
    )
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={
            "description": "`platform`, of a key of the role `worker`: it claims the runs of every tenant of the "
            "platform's workers; platform-admin or above makes it."
        },
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> ApiKeySpec:
        is_of_platform = values.pop("scope") is Scope.PLATFORM
        worker_ids = values.pop("workers")
        is_worker = values["role"] is Role.WORKER
        if is_worker and worker_ids is None:
            raise ValidationError({"workers": ["The role worker needs it."]})
        if worker_ids is not None and not is_worker:
            raise ValidationError({"workers": ["The role worker alone takes it."]})
        if is_worker and not values["payloads"]:
            raise ValidationError({"payloads": ["The role worker sees the inputs of the runs that it claims."]})
        if is_of_platform and not is_worker:
            raise ValidationError({"scope": ["The role worker alone takes it."]})
        return ApiKeySpec(**values, worker_ids=worker_ids, is_of_platform=is_of_platform)


class KeyListQuery(PageQuery):
    """The parameters of the list of API keys."""

    cursor = cursor_field(paging.id_reader("key"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PageRequest:
        return PageRequest(**take_page(values))


# Out -------------------------------------------------------------------------------------------------------------


class KeyRecord(RecordSchema, of=ApiKey):
    """An API key."""

    names = "id name role prefix created_by created_at expires_at last_used_at payloads workers"
    role = Text(attribute="role_name", metadata={"enum": _ROLES})
    workers = JsonText(
        attribute="worker_ids",
        allow_none=True,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "description": "Of the role `worker`: the workers whose runs it may claim; null of other roles.",
        },
    )


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


write_key = compile_schema(KeyRecord(), workers=json.dumps)
write_new_key = compile_schema(NewKeyRecord(), workers=json.dumps)
