"""Use cases of hooks: create, change and delete them, and find the hook of a token."""

from __future__ import annotations

import base64
import dataclasses
import secrets as random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.caller import Caller
from ava.domain.access.tokens import Token, TokenKind
from ava.domain.counts import PageBounds
from ava.domain.events.hook import MAX_SECRETS, Hook, HookSpec, check
from ava.domain.events.verification import check_secret
from ava.domain.events.verifiers import KeyForm, Provider, Scheme, Verifier
from ava.domain.jobs.job import JobSpec
from ava.domain.limits.table import HOOKS
from ava.domain.secrets.redaction import shown_to
from ava.domain.secrets.sealing import Sealer
from ava.errors import HookNotFound, HooksFull, HookUnknown, InvalidFields, required
from ava.services import replays
from ava.services.api_keys import cache_name
from ava.services.cache import Cache
from ava.services.jobs import Jobs
from ava.store.access import api_keys
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.events import hooks
from ava.store.jobs import idempotency

#: Cache lifetime of a hook in seconds: a change applies everywhere within 2 s.
_TRUST_SECONDS = 1.5
#: Lifetime in seconds of the memory that a token was valid.
_FOUND_SECONDS = 3_600
#: Max remembered tokens, of known and of unknown hooks each.
_MAX_REMEMBERED = 10_000
_SECRET_BYTES = 32
#: Providers that generate the secret themselves.
_SECRET_OF_PROVIDER = (Provider.STRIPE, Provider.SLACK, Provider.SHOPIFY)


@dataclass(frozen=True, kw_only=True)
class NewHook:
    """A created hook, with the values that are shown only once."""

    hook: Hook
    #: The token of its URL; None in a repeated response.
    token: str | None = None
    #: The generated secret; None if the client sent one, or the provider generates it.
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class OpenHook:
    """A hook with its secrets, to verify a request."""

    hook: Hook
    secrets: Sequence[str] = field(repr=False)
    #: PostgreSQL's time in Unix seconds, when this process's monotonic clock was at `read_at`.
    database_time: float
    read_at: float

    def now(self, clock: float) -> float:
        """Return PostgreSQL's time in Unix seconds. `clock` is this process's monotonic clock."""
        return self.database_time + clock - self.read_at


class Hooks:
    """Use cases of hooks."""

    def __init__(
        self, database: Database, sealer: Sealer, jobs: Jobs, *, mark: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`mark` is part of new tokens; `clock` returns monotonic seconds."""
        self._database = database
        self._sealer = sealer
        self._jobs = jobs
        self._mark = mark
        self._clock = clock
        self._known: Cache[bytes, OpenHook] = Cache(_MAX_REMEMBERED)
        self._unknown: Cache[bytes, bool] = Cache(_MAX_REMEMBERED)
        self._found: Cache[bytes, bool] = Cache(_MAX_REMEMBERED)

    def create(
        self, caller: Caller, spec: HookSpec, *, secret: str | None, paused: bool = False, key: str | None = None
    ) -> tuple[NewHook, bool]:
        """Create a hook. Return it, and True for a repeated call.

        Without `secret` generate one, unless the provider does. Raise `InvalidFields`, `PriorityTooUrgent`,
        `WorkerNotFound`, `WorkerDeprecated`, `HooksFull`, `EncryptionKeyMissing`, `IdempotencyKeyReused`.
        """
        check(spec)
        _check_secret(spec.verifier, secret)
        made_up = _make_up(spec) if secret is None else None
        given = secret or made_up
        sealer = self._sealer.of_tenant(caller.tenant_id)
        token = tokens.make(TokenKind.HOOK, self._mark)
        with self._database.transaction() as connection:
            asked = [dataclasses.asdict(spec), secret, paused]
            if (earlier := replays.reserve(connection, caller, key, kind="hook", asked=asked)) is not None:
                return NewHook(hook=_show(connection, caller, ids.encode("hk", earlier))), True
            self._check(connection, caller, spec)
            created = hooks.create(
                connection,
                spec,
                tenant_id=caller.tenant_id,
                by=caller.actor,
                token=token,
                sealed_secrets=[] if given is None else [sealer.seal(given)],
                is_paused=paused,
                max_hooks=HOOKS.value,
            )
            if created is None:
                raise HooksFull(
                    HOOKS.message(f"The tenant has reached its limit of {HOOKS.value:,} hooks; delete one first.")
                )
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return NewHook(hook=created, token=token.encoded, secret=made_up), False

    def _check(self, connection: Connection, caller: Caller, spec: HookSpec) -> None:
        if spec.worker_id is not None:
            self._jobs.rules.refuse_urgent(caller, [JobSpec(worker_id=spec.worker_id, priority=spec.priority)])
            self._jobs.creator.check_worker(connection, tenant_id=caller.tenant_id, worker_id=spec.worker_id)

    def show(self, caller: Caller, hook_id: str) -> Hook:
        """Return a hook. Raise `HookNotFound`."""
        with self._database.connect() as connection:
            return shown_to(caller, _show(connection, caller, hook_id))

    def page(self, caller: Caller, *, paused: bool | None, bounds: PageBounds) -> tuple[list[Hook], int]:
        with self._database.connect() as connection:
            found, total = hooks.page(connection, tenant_id=caller.tenant_id, paused=paused, bounds=bounds)
        return [shown_to(caller, each) for each in found], total

    def change(
        self,
        caller: Caller,
        hook_id: str,
        changes: Mapping[str, Any],
        *,
        secret: str | None = None,
        keep_secret_seconds: int = 0,
    ) -> Hook:
        """Change fields of a hook, which takes up to 2 s in other processes. Raise `HookNotFound` and like `create`.

        With a new `secret`, the previous secrets stay valid for `keep_secret_seconds`, or until their earlier expiry.
        """
        with self._database.transaction() as connection:
            locked = required(hooks.lock(connection, tenant_id=caller.tenant_id, hook_id=hook_id), HookNotFound)
            hook, stored = locked
            changers = api_keys.with_changer(connection, caller, hook.changers)
            changed = replace(hook, **changes, changers=changers)
            check(changed)
            _check_secret(changed.verifier, secret)
            if (changed.worker_id, changed.priority) != (hook.worker_id, hook.priority):
                self._check(connection, caller, changed)
            new_secrets = None
            if secret is not None:
                now = clock.now(connection)
                sealed = self._sealer.of_tenant(caller.tenant_id).seal(secret)
                new_secrets = [
                    {"sealed": sealed, "until": None},
                    *_previous_secrets(stored, now, now + timedelta(seconds=keep_secret_seconds)),
                ][:MAX_SECRETS]
            done = hooks.change(connection, changed, secrets=new_secrets)
        self._known.clear()
        return done

    def pause(self, caller: Caller, hook_id: str, /, *, reason: str | None = None) -> tuple[bool, Hook]:
        """Pause a hook, which takes up to 2 s in other processes.

        Return whether it was paused before, and its record. Raise `HookNotFound`.
        """
        with self._database.transaction() as connection:
            is_new = hooks.pause(
                connection, tenant_id=caller.tenant_id, hook_id=hook_id, by=caller.actor, reason=reason
            )
            found = _show(connection, caller, hook_id)
        self._known.clear()
        return not is_new, found

    def resume(self, caller: Caller, hook_id: str, /) -> tuple[bool, Hook]:
        """Resume a hook; like `pause`."""
        with self._database.transaction() as connection:
            was_paused = hooks.resume(connection, tenant_id=caller.tenant_id, hook_id=hook_id)
            found = _show(connection, caller, hook_id)
        self._known.clear()
        return was_paused, found

    def rotate(
        self, caller: Caller, hook_id: str, *, keep_seconds: int, key: str | None = None
    ) -> tuple[NewHook, bool]:
        """Give a hook a new URL; the previous one stays valid for `keep_seconds`, plus up to 2 s.

        Return the hook, and True for a repeated call. Raise `HookNotFound`, `IdempotencyKeyReused`.
        """
        token = tokens.make(TokenKind.HOOK, self._mark)
        with self._database.transaction() as connection:
            asked = [hook_id, keep_seconds]
            if replays.reserve(connection, caller, key, kind="rotate", asked=asked) is not None:
                return NewHook(hook=_show(connection, caller, hook_id)), True
            rotated = hooks.rotate(
                connection, tenant_id=caller.tenant_id, hook_id=hook_id, token=token, overlap_seconds=keep_seconds
            )
            if rotated is None:
                raise HookNotFound
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[hook_id])
        self._known.clear()
        return NewHook(hook=rotated, token=token.encoded), False

    def delete(self, caller: Caller, hook_id: str) -> None:
        """Delete a hook and its secrets; within 2 s its URL is unknown. Raise `HookNotFound`."""
        with self._database.connect() as connection:
            if not hooks.delete(connection, tenant_id=caller.tenant_id, hook_id=hook_id):
                raise HookNotFound
        self._known.clear()

    def find(self, token_string: str) -> OpenHook:
        """Return the hook of a token. Raise `HookUnknown`, in constant time."""
        token = tokens.parse(token_string, TokenKind.HOOK)
        return required(None if token is None else self._find(token), HookUnknown)

    def was_found(self, token_string: str) -> bool:
        """Return True if this process found the token's hook within the last hour. It may have been deleted since."""
        token = tokens.parse(token_string, TokenKind.HOOK)
        return token is not None and bool(self._found.get(cache_name(token), self._clock()))

    def _find(self, token: Token) -> OpenHook | None:
        # Read the clock before the database, so that no hook is cached for longer than `_TRUST_SECONDS`.
        now, name = self._clock(), cache_name(token)
        if (known := self._known.get(name, now)) is not None:
            return known
        if self._unknown.get(name, now):
            return None
        with self._database.connect() as connection:
            found = hooks.find(connection, token)
        if found is None:
            self._unknown.put(name, True, until=now + _TRUST_SECONDS)
            return None
        opened = self._opened(found.hook, found.sealed, found.now)
        trust = _TRUST_SECONDS if found.seconds_left is None else min(_TRUST_SECONDS, found.seconds_left)
        self._known.put(name, opened, until=now + trust)
        self._found.put(name, True, until=now + _FOUND_SECONDS)
        return opened

    def open(self, connection: Connection, caller: Caller, hook_id: str) -> OpenHook:
        """Return the caller's hook with its secrets, for a test or a replay. Raise `HookNotFound`."""
        hook = _show(connection, caller, hook_id)
        sealed = hooks.sealed_of(connection, tenant_id=caller.tenant_id, hook_id=hook_id)
        return self._opened(hook, sealed, clock.now(connection))

    def _opened(self, hook: Hook, sealed: Sequence[str], now: datetime) -> OpenHook:
        sealer = self._sealer.of_tenant(hook.tenant_id) if sealed else self._sealer
        return OpenHook(
            hook=hook, secrets=tuple(map(sealer.open, sealed)), database_time=now.timestamp(), read_at=self._clock()
        )


def _check_secret(verifier: Verifier, secret: str | None) -> None:
    if secret is None:
        return
    if not verifier.needs_secret:
        reason = "This provider signs nothing; omit the secret."
        raise InvalidFields(f"secret: {reason}", {"secret": [reason]})
    try:
        check_secret(verifier, secret)
    except ValueError as error:
        raise InvalidFields(f"secret: {error}", {"secret": [str(error)]}) from None


def _make_up(spec: HookSpec) -> str | None:
    row = spec.verifier
    if not row.needs_secret or row.scheme is Scheme.ASYMMETRIC or spec.provider in _SECRET_OF_PROVIDER:
        return None
    key = random.token_bytes(_SECRET_BYTES)
    if row.key is KeyForm.STANDARD:
        return "whsec_" + _base64(key)
    return _base64(key) if row.key is KeyForm.BASE64 else key.hex()


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _previous_secrets(stored: Sequence[Mapping[str, Any]], now: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return the previous secrets, each valid until `until` or its own earlier expiry."""
    previous: list[dict[str, Any]] = []
    for each in stored:
        own = None if each["until"] is None else datetime.fromisoformat(each["until"])
        end = until if own is None else min(own, until)
        if end > now:
            previous.append({"sealed": each["sealed"], "until": end.isoformat()})
    return previous


def _show(connection: Connection, caller: Caller, hook_id: str) -> Hook:
    return required(hooks.show(connection, tenant_id=caller.tenant_id, hook_id=hook_id), HookNotFound)
