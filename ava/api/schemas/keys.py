"""API keys and sessions: schemas of requests and responses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http.fields import Choice, ClientId, Plain, String
from ava.api.http.records import KINDS, RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Strict
from ava.domain.access.api_key import ANY_WORKER, ApiKey, ApiKeySpec
from ava.domain.access.caller import Role
from ava.domain.access.sign_in import EndedSessions, Identity, SignInLink, TenantRole
from ava.domain.limits.table import WORKERS_PER_KEY
from ava.domain.worker import Scope

_ROLES = [role.header for role in Role]
WORKER_ID = re.compile(r"wkr_[a-z][a-z0-9_]{0,58}")


class _RoleName(String):
    """A role."""

    def read(self, value: Any) -> Role:
        if not isinstance(value, str) or (role := Role.of_key(value)) is None:
            raise ValidationError(f"It must be one of {', '.join(_ROLES)}.")
        return role


class WorkerIds(Plain):
    """A list of ids of workers."""

    def __init__(self, **rest: Any) -> None:
        items = {"type": "string", "pattern": f"^{WORKER_ID.pattern}$"}
        of_array = {"type": "array", "items": items, "minItems": 1, "maxItems": WORKERS_PER_KEY.value}
        super().__init__(**rest | {"metadata": of_array | rest.get("metadata", {})})

    def read(self, value: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= WORKERS_PER_KEY.value:
            raise ValidationError(WORKERS_PER_KEY.message(f"It must be a list of 1 to {WORKERS_PER_KEY.value} ids."))
        if not all(isinstance(each, str) and WORKER_ID.fullmatch(each) for each in value):
            raise ValidationError("Each entry must be the id of a worker, such as wkr_resize.")
        return list(dict.fromkeys(value))


class _Triggers(WorkerIds):
    """A list of ids of workers, or `["*"]`."""

    def read(self, value: Any) -> list[str]:
        return [ANY_WORKER] if value == [ANY_WORKER] else super().read(value)


class KeyBody(Strict, of=ApiKeySpec):
    """An API key to create."""

    names = "name role expires_at payloads workers triggers scope"
    role = _RoleName(required=True, metadata={"enum": _ROLES})
    workers = WorkerIds(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Required for the role `worker`, and only for it: the pull workers that the key may claim "
            "runs of.",
        },
    )
    triggers = _Triggers(
        load_default=None,
        allow_none=True,
        metadata={
            "items": {"type": "string"},
            "description": "Only for the role `worker`: its claimed runs may create children of these workers; "
            '`["*"]`: all of the tenant. Without it they create none.',
        },
    )
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={
            "description": "`platform`, only for the role `worker`: the key claims the runs of every tenant of the "
            "platform's workers. Needs platform-admin or above."
        },
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> ApiKeySpec:
        is_of_platform = values.pop("scope") is Scope.PLATFORM
        worker_ids = values.pop("workers")
        is_worker = values["role"] is Role.WORKER
        if is_worker and worker_ids is None:
            raise ValidationError({"workers": ["It is required for the role worker."]})
        if worker_ids is not None and not is_worker:
            raise ValidationError({"workers": ["It is allowed only for the role worker."]})
        if is_worker and not values["payloads"]:
            raise ValidationError(
                {"payloads": ["It must be true for the role worker, which gets the inputs of the runs that it claims."]}
            )
        triggers = values.pop("triggers")
        if triggers is not None and not is_worker:
            raise ValidationError({"triggers": ["It is allowed only for the role worker."]})
        if is_of_platform and not is_worker:
            raise ValidationError({"scope": ["It is allowed only for the role worker."]})
        return ApiKeySpec(**values, worker_ids=worker_ids, triggers=triggers or (), is_of_platform=is_of_platform)


# Out -------------------------------------------------------------------------------------------------------------


def _role_field(choices: Iterable[Role] = Role, *, metadata: dict[str, Any], **options: Any) -> String:
    """Return the field of a role in a record."""
    about = {"enum": [role.header for role in choices], "write": lambda role: f'"{role.header}"'}
    return String(metadata=about | metadata, **options)


KINDS[Role] = _role_field


class KeyRecord(RecordSchema, of=ApiKey):
    """An API key."""

    names = "id name role prefix created_by created_at expires_at last_used_at payloads workers triggers"


class CreatedKeyRecord(RecordSchema, of=ApiKey):
    """An API key that was just created."""

    names = f"{KeyRecord.names} token"


KeyDeletedRecord = deleted_record("KeyDeletedRecord", "key")
write_key = compile_schema(KeyRecord())
write_new_key = compile_schema(CreatedKeyRecord())


class SessionBody(Strict):
    """The tenant to show from now on."""

    tenant_id = ClientId("ten", required=True)

    @post_load
    def make(self, data: dict[str, str], **_: object) -> str:
        return data["tenant_id"]


class SessionTenantRecord(RecordSchema, of=TenantRole):
    """A tenant of the caller."""


class SessionRecord(RecordSchema, of=Identity):
    """The current caller."""


class LinkRecord(RecordSchema, of=SignInLink):
    """A link that signs in once."""


class EndedSessionsRecord(RecordSchema, of=EndedSessions):
    """The number of ended sessions."""


write_session = compile_schema(SessionRecord())
write_link = compile_schema(LinkRecord())
write_ended = compile_schema(EndedSessionsRecord())
