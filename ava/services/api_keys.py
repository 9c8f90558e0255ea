"""Use cases of API keys: create, list, revoke; authenticate a request with one; and cache a token's result."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.api_key import ApiKey, ApiKeySpec
from ava.domain.access.caller import Caller
from ava.domain.access.tokens import Token, TokenKind
from ava.domain.counts import PageBounds
from ava.domain.limits.table import API_KEYS
from ava.errors import (
    ApiKeyNotFound,
    ApiKeyRoleTooHigh,
    ApiKeysFull,
    DatabaseUnavailable,
    InvalidFields,
    Unauthorized,
    required,
)
from ava.services import replays
from ava.services.cache import Cache
from ava.store.access import api_keys
from ava.store.access.api_keys import FoundKey
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.fleet import pull_workers
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.jobs import idempotency


def cache_name(token: Token) -> bytes:
    """Return a hash, so that no token stays in memory."""
    return hashlib.sha256(token.encoded.encode()).digest()


#: A revoked key is refused everywhere within 2 s.
_TRUST_SECONDS = 1.5
#: Cached tokens, known and unknown each: separate, so that guessed tokens evict no valid one.
_MAX_REMEMBERED = 10_000


class ApiKeys:
    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic, *, mark: str) -> None:
        """`clock` returns monotonic seconds; `mark` is part of new tokens."""
        self._database = database
        self._mark = mark
        self._clock = clock
        self._known: Cache[bytes, FoundKey] = Cache(_MAX_REMEMBERED)
        self._unknown: Cache[bytes, bool] = Cache(_MAX_REMEMBERED)

    def create(self, caller: Caller, spec: ApiKeySpec, key: str | None = None) -> tuple[ApiKey, bool]:
        """Create a key. Return it, and True for a repeated call.

        Only the first response contains the token, because the database does not store it. Raise `ApiKeyRoleTooHigh`,
        `InvalidFields` if it would already be expired, `ApiKeysFull`, `Unauthorized` if the caller's key was just
        revoked, `IdempotencyKeyReused`.
        """
        if spec.role > caller.role or (spec.is_of_platform and not caller.is_operator):
            raise ApiKeyRoleTooHigh
        token = tokens.make(TokenKind.API_KEY, self._mark)
        with self._database.transaction() as connection:
            asked = [spec.name, spec.role.header, str(spec.expires_at), *([] if spec.payloads else ["no payloads"])]
            if spec.worker_ids is not None:
                asked += [*spec.worker_ids, str(spec.is_of_platform)]
            if (earlier := replays.reserve(connection, caller, key, kind="api key", asked=asked)) is not None:
                return _show(connection, caller, ids.encode("key", earlier)), True
            if spec.expires_at is not None and spec.expires_at <= clock.now(connection):
                reason = "It must be in the future."
                raise InvalidFields(f"expires_at: {reason}", {"expires_at": [reason]})
            if spec.worker_ids is not None:
                _check_workers(connection, caller, spec)
            created = api_keys.create(connection, spec, caller=caller, token=token, max_keys=API_KEYS.value)
            if created is None:
                if caller.key_id is not None:
                    check_key(connection, caller, caller.key_id)
                sentence = f"The tenant has reached its limit of {API_KEYS.value} API keys; revoke one first."
                raise ApiKeysFull(API_KEYS.message(sentence))
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return dataclasses.replace(created, token=token.encoded), False

    def page(self, caller: Caller, *, bounds: PageBounds) -> tuple[list[ApiKey], int]:
        with self._database.connect() as connection:
            return api_keys.page(connection, tenant_id=caller.tenant_id, bounds=bounds)

    def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """Revoke a key and the keys that it created, immediately here and within 2 s in other processes.

        Return it. Raise `ApiKeyNotFound`.
        """
        with self._database.connect() as connection:
            revoked = required(api_keys.delete(connection, tenant_id=caller.tenant_id, key_id=key_id), ApiKeyNotFound)
        self._known.clear()
        return revoked

    def caller_of(self, token: str, user_id: str | None) -> Caller:
        """Return the caller of a token; `user_id` is the acting user, if the request names one.

        Raise `Unauthorized` if the key is unknown, has expired or was revoked.
        """
        parsed = tokens.parse(token, TokenKind.API_KEY)
        found = required(None if parsed is None else self._find(parsed), Unauthorized)
        return Caller(
            tenant_id=found.tenant_id,
            user_id=user_id or found.id,
            role=found.role,
            key_id=found.id,
            sees_payloads=found.payloads,
            worker_ids=found.worker_ids,
            is_of_platform=found.is_of_platform,
        )

    def _find(self, token: Token) -> FoundKey | None:
        # Before the database is read, so that no key is cached for longer than `_TRUST_SECONDS`.
        now, name = self._clock(), cache_name(token)
        if (known := self._known.get(name, now)) is not None:
            return known
        if self._unknown.get(name, now):
            return None
        with self._database.connect() as connection:
            found = api_keys.find(connection, token)
        if found is None or (found.seconds_left is not None and found.seconds_left <= 0):
            self._unknown.put(name, True, until=now + _TRUST_SECONDS)
            return None
        if found.is_use_due:
            self._record_use(found)
        trust = _TRUST_SECONDS if found.seconds_left is None else min(_TRUST_SECONDS, found.seconds_left)
        self._known.put(name, found, until=now + trust)
        return found

    def _record_use(self, found: FoundKey) -> None:
        # A temporarily read-only server still serves reads.
        with suppress(DatabaseUnavailable), self._database.connect() as connection:
            api_keys.record_use(connection, tenant_id=found.tenant_id, key_id=found.id)


def _check_workers(connection: Connection, caller: Caller, spec: ApiKeySpec) -> None:
    """Raise `InvalidFields` unless each worker is a pull worker of the tenant or, for platform keys, the platform."""
    wanted = spec.worker_ids or ()
    owners = pull_workers.owners(connection, tenant_id=caller.tenant_id, worker_ids=wanted)
    wrong = [id_ for id_ in wanted if id_ not in owners or (spec.is_of_platform and owners[id_] != PLATFORM)]
    if wrong:
        whose = "the platform" if spec.is_of_platform else "this tenant"
        reason = f"{wrong[0]} is not a pull worker of {whose}."
        raise InvalidFields(f"workers: {reason}", {"workers": [reason]})


def check_key(connection: Connection, caller: Caller, key_id: str) -> None:
    if api_keys.show(connection, tenant_id=caller.tenant_id, key_id=key_id) is None:
        raise Unauthorized


def _show(connection: Connection, caller: Caller, key_id: str) -> ApiKey:
    return required(api_keys.show(connection, tenant_id=caller.tenant_id, key_id=key_id), ApiKeyNotFound)
