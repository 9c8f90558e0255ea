"""Hooks: created and changed by their tenants, found by requests. Secrets are stored sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.actor import Actor
from ava.domain.access.tokens import Token
from ava.domain.counts import PageBounds
from ava.domain.events.hook import Hook, HookSpec
from ava.domain.events.verifiers import read_row, row_of
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement
from ava.store.pause_columns import PAUSE_SET, PAUSED_AT, RESUME_SET

_IS_VALID = "(x.secret ->> 'until' IS NULL OR (x.secret ->> 'until')::timestamptz > now())"
_ROWS = RecordRows(
    Hook,
    "h",
    columns={
        "custom": "h.verifier::text",
        "paused": pause_columns.column("h"),
        "prefix": "h.lookup",
        "previous_token_until": "CASE WHEN h.previous_until > now() THEN h.previous_until END",
        "secret_count": f"(SELECT count(*) FROM json_array_elements(h.secrets) AS x (secret) WHERE {_IS_VALID})",
    },
    readers={"custom": lambda json_string: read_row(json.loads(json_string)), "paused": pause_columns.read},
    without=("url", "secret"),
)
_COLUMNS, _hook = _ROWS.columns, _ROWS.read

# The lock serializes the creations of one tenant, so that the count is exact.
_LOCK_TENANT = Statement("SELECT pg_advisory_xact_lock(hashtextextended('hooks of ' || %(tenant_id)s, 0))")
_CREATE = Statement(f"""
INSERT INTO hooks AS h (tenant_id, name, provider, verifier, secrets, worker_id, event_type, match, input, priority,
                        dedupe, tolerance_seconds, paused_at, paused_by, lookup, hash, created_by)
SELECT %(tenant_id)s, %(name)s, %(provider)s, %(verifier)s::json, %(secrets)s::json, %(worker_id)s, %(event_type)s,
    %(match)s::json, %(input)s::json, %(priority)s, %(dedupe)s, %(tolerance_seconds)s, {PAUSED_AT},
    %(paused_by)s::jsonb, %(lookup)s, %(hash)s, %(created_by)s
WHERE (SELECT count(*) FROM hooks AS c WHERE c.tenant_id = %(tenant_id)s) < %(max_hooks)s
RETURNING {_COLUMNS}
""")


def create(
    connection: Connection,
    spec: HookSpec,
    *,
    tenant_id: str,
    by: Actor,
    token: Token,
    sealed_secrets: Sequence[str],
    is_paused: bool,
    max_hooks: int,
) -> Hook | None:
    """Create a hook in a transaction.

    Returns None if the tenant has reached `max_hooks`.
    """
    connection.exec_driver_sql(_LOCK_TENANT, {"tenant_id": tenant_id})
    parameters = _fields(spec) | {
        "tenant_id": tenant_id,
        "created_by": by.text,
        "secrets": json.dumps([{"sealed": sealed, "until": None} for sealed in sealed_secrets]),
        "lookup": token.lookup,
        "hash": tokens.hash_of(token),
        "paused_by": by.json if is_paused else None,
        "max_hooks": max_hooks,
    }
    return _ROWS.first(connection.exec_driver_sql(_CREATE, parameters))


def _fields(spec: HookSpec) -> dict[str, object]:
    verifier = None if spec.custom is None else json.dumps(row_of(spec.custom))
    return parameters_of(HookSpec, spec) | {"verifier": verifier}


_SHOW = Statement(f"SELECT {_COLUMNS} FROM hooks AS h WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid")
_LOCK = Statement(f"""
SELECT {_COLUMNS}, h.secrets::text FROM hooks AS h WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid FOR UPDATE
""")


def show(connection: Connection, *, tenant_id: str, hook_id: str) -> Hook | None:
    """Return a tenant's hook; None if there is none."""
    return _ROWS.first(connection.exec_driver_sql(_SHOW, {"tenant_id": tenant_id, "id": hook_uuid(hook_id)}))


def lock(connection: Connection, *, tenant_id: str, hook_id: str) -> tuple[Hook, list[dict[str, Any]]] | None:
    """Lock a hook until the transaction ends. Returns the hook and its sealed secrets; None if there is none."""
    row = connection.exec_driver_sql(_LOCK, {"tenant_id": tenant_id, "id": hook_uuid(hook_id)}).first()
    return None if row is None else (_hook(row), json.loads(row[-1]))


_SEALED_OF = Statement("""
SELECT x.secret ->> 'sealed' FROM hooks AS h CROSS JOIN LATERAL json_array_elements(h.secrets) AS x (secret)
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid
    AND (x.secret ->> 'until' IS NULL OR (x.secret ->> 'until')::timestamptz > now())
""")


def sealed_of(connection: Connection, *, tenant_id: str, hook_id: str) -> list[str]:
    """Return the valid sealed secrets of a hook, the current one first."""
    parameters = {"tenant_id": tenant_id, "id": hook_uuid(hook_id)}
    return [sealed for (sealed,) in connection.exec_driver_sql(_SEALED_OF, parameters)]


_CHANGE = Statement(f"""
UPDATE hooks AS h SET name = %(name)s, provider = %(provider)s, verifier = %(verifier)s::json,
    secrets = coalesce(%(secrets)s::json, h.secrets), worker_id = %(worker_id)s, event_type = %(event_type)s,
    match = %(match)s::json, input = %(input)s::json, priority = %(priority)s, dedupe = %(dedupe)s,
    tolerance_seconds = %(tolerance_seconds)s, changers = %(changers)s, updated_at = clock_timestamp()
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid
RETURNING {_COLUMNS}
""")


def change(connection: Connection, hook: Hook, *, secrets: Sequence[Mapping[str, Any]] | None) -> Hook:
    """Write all fields of a hook, in the transaction of `lock`; `secrets` None: keep the secrets."""
    parameters = _fields(hook) | {
        "tenant_id": hook.tenant_id,
        "id": hook_uuid(hook.id),
        "changers": hook.changers,
        "secrets": None if secrets is None else json.dumps(list(secrets)),
    }
    return _hook(connection.exec_driver_sql(_CHANGE, parameters).one())


_ROTATE = Statement(f"""
UPDATE hooks AS h SET lookup = %(lookup)s, hash = %(hash)s,
    previous_lookup = CASE WHEN %(overlap_seconds)s > 0 THEN h.lookup END,
    previous_hash = CASE WHEN %(overlap_seconds)s > 0 THEN h.hash END,
    previous_until = CASE WHEN %(overlap_seconds)s > 0 THEN now() + %(overlap_seconds)s * interval '1 second' END,
    updated_at = clock_timestamp()
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid
RETURNING {_COLUMNS}
""")


def rotate(connection: Connection, *, tenant_id: str, hook_id: str, token: Token, overlap_seconds: int) -> Hook | None:
    """Replace a hook's token; the old one stays valid for `overlap_seconds`. Returns None if there is no such hook."""
    parameters = {
        "tenant_id": tenant_id,
        "id": hook_uuid(hook_id),
        "lookup": token.lookup,
        "hash": tokens.hash_of(token),
        "overlap_seconds": overlap_seconds,
    }
    return _ROWS.first(connection.exec_driver_sql(_ROTATE, parameters))


_PAUSE = Statement(f"""
UPDATE hooks AS h SET {PAUSE_SET}, updated_at = clock_timestamp()
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid AND h.paused_at IS NULL
""")
_RESUME = Statement(f"""
UPDATE hooks AS h SET {RESUME_SET}, updated_at = clock_timestamp()
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid AND h.paused_at IS NOT NULL
""")


def pause(connection: Connection, *, tenant_id: str, hook_id: str, by: Actor, reason: str | None) -> bool:
    """Pause a hook: its deliveries are stored and start nothing. Returns False if nothing changed."""
    parameters = {"tenant_id": tenant_id, "id": hook_uuid(hook_id)} | pause_columns.parameters(by, reason)
    return connection.exec_driver_sql(_PAUSE, parameters).rowcount == 1


def resume(connection: Connection, *, tenant_id: str, hook_id: str) -> bool:
    """Resume a hook. Returns False if it was not paused."""
    return connection.exec_driver_sql(_RESUME, {"tenant_id": tenant_id, "id": hook_uuid(hook_id)}).rowcount == 1


_DELETE = Statement("DELETE FROM hooks AS h WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid")


def delete(connection: Connection, *, tenant_id: str, hook_id: str) -> bool:
    """Delete a hook with its secrets; its events and jobs continue. Returns False if there is none."""
    parameters = {"tenant_id": tenant_id, "id": hook_uuid(hook_id)}
    return connection.exec_driver_sql(_DELETE, parameters).rowcount == 1


_PAGE, _COUNT = _ROWS.newest(
    "hooks",
    "h.tenant_id = %(tenant_id)s AND (%(paused)s::bool IS NULL OR (h.paused_at IS NOT NULL) = %(paused)s::bool)",
)


def page(connection: Connection, *, tenant_id: str, paused: bool | None, bounds: PageBounds) -> tuple[list[Hook], int]:
    """Return hooks of a tenant, newest first, and their number; `paused` None means paused ones and others."""
    return _ROWS.page(connection, (_PAGE, _COUNT), bounds, tenant_id=tenant_id, paused=paused)


@dataclass(frozen=True, kw_only=True)
class FoundHook:
    """A hook as the request to it needs it."""

    hook: Hook
    #: The valid secrets, sealed.
    sealed: Sequence[str]
    #: The time of the read.
    now: datetime
    #: Seconds until the first of its secrets or its token expires; None: they do not.
    seconds_left: float | None


# Not scoped to a tenant, because the token determines it.
_FIND = Statement(f"""
SELECT {_COLUMNS}, h.secrets::text, now(), f.until, f.hash FROM (
    SELECT a.tenant_id, a.id, a.hash, NULL::timestamptz AS until FROM hooks AS a WHERE a.lookup = %(lookup)s
    UNION ALL
    SELECT b.tenant_id, b.id, b.previous_hash, b.previous_until FROM hooks AS b
    WHERE b.previous_lookup = %(lookup)s AND b.previous_until > now()
) AS f JOIN hooks AS h ON h.tenant_id = f.tenant_id AND h.id = f.id
""")


def find(connection: Connection, token: Token) -> FoundHook | None:
    """Return the hook with this token, or None if there is none. Takes the same time for an unknown token."""
    row = connection.exec_driver_sql(_FIND, {"lookup": token.lookup}).first()
    if not tokens.is_hash_of(None if row is None else bytes(row[-1]), token) or row is None:
        return None
    secrets_json, now, token_until, _ = row[_ROWS.count :]
    secrets = [(each["sealed"], _timestamp(each["until"])) for each in json.loads(secrets_json)]
    ends = [end for end in [token_until, *(until for _, until in secrets)] if end is not None and end > now]
    return FoundHook(
        hook=_hook(row),
        sealed=[sealed for sealed, until in secrets if until is None or until > now],
        now=now,
        seconds_left=min(((end - now).total_seconds() for end in ends), default=None),
    )


def _timestamp(string: str | None) -> datetime | None:
    return None if string is None else datetime.fromisoformat(string)


_SEALED_SECRETS = Statement("SELECT h.tenant_id, h.id::text, h.secrets::text FROM hooks AS h ORDER BY h.id")


def sealed_secrets(connection: Connection) -> list[tuple[str, str, str]]:
    """Return every hook's tenant, id (a UUID), and sealed secrets as JSON."""
    return [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(_SEALED_SECRETS)]


_RESEAL = Statement("""
UPDATE hooks AS h SET secrets = %(new)s::json
WHERE h.tenant_id = %(tenant_id)s AND h.id = %(id)s::uuid AND h.secrets::text = %(old)s
""")


def reseal(connection: Connection, *, tenant_id: str, uuid: str, old: str, new: str) -> bool:
    """Replace a hook's secrets by the same ones, sealed again. Returns False if they were changed in between."""
    parameters = {"tenant_id": tenant_id, "id": uuid, "old": old, "new": new}
    return connection.exec_driver_sql(_RESEAL, parameters).rowcount == 1


hook_uuid = partial(ids.to_uuid, "hk")
