"""Use cases of subscriptions: create, list, change, delete, and try a pattern and template on an event."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.events.subscription import (
    Rule,
    Subscription,
    SubscriptionIndex,
    SubscriptionSpec,
    Tried,
    make_input,
    matches_type,
)
from ava.domain.jobs.job import JobSpec
from ava.domain.limits.table import SUBSCRIPTIONS
from ava.domain.secrets.redaction import shown_to
from ava.errors import RequestError, SubscriptionNotFound, SubscriptionsFull
from ava.services import replays
from ava.services.cache import Cache
from ava.services.jobs import Jobs
from ava.store.access import api_keys
from ava.store.engine.database import Connection, Database
from ava.store.events import subscriptions
from ava.store.events.subscriptions import SubscriptionFilter
from ava.store.jobs import idempotency

#: Max cached subscriptions of all tenants, and max tenants.
_MAX_KEPT = 50_000
_MAX_TENANTS = 5_000


class Subscriptions:
    """Use cases of subscriptions."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def create(
        self, caller: Caller, spec: SubscriptionSpec, *, paused: bool = False, key: str | None = None
    ) -> tuple[Subscription, bool]:
        """Create a subscription. Return it, and True for a repeated call.

        Raise `PriorityTooUrgent`, `WorkerNotFound` if the tenant cannot see its worker, `WorkerDeprecated`,
        `SubscriptionsFull`, `IdempotencyKeyReused`.
        """
        with self._database.transaction() as connection:
            asked = dataclasses.asdict(spec) | {"paused": paused}
            if (earlier := replays.reserve(connection, caller, key, kind="subscription", asked=asked)) is not None:
                return _show(connection, caller, ids.encode("sub", earlier)), True
            self._check(connection, caller, spec)
            max_subscriptions = SUBSCRIPTIONS.value
            if not subscriptions.has_capacity(
                connection, tenant_id=caller.tenant_id, max_subscriptions=max_subscriptions
            ):
                sentence = f"The tenant has reached its limit of {max_subscriptions:,} subscriptions; delete one first."
                raise SubscriptionsFull(SUBSCRIPTIONS.message(sentence))
            created = subscriptions.create(
                connection, spec, tenant_id=caller.tenant_id, by=caller.actor, is_paused=paused
            )
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return created, False

    def _check(self, connection: Connection, caller: Caller, spec: SubscriptionSpec) -> None:
        job = JobSpec(worker_id=spec.worker_id, priority=spec.priority)
        self._jobs.rules.refuse_urgent(caller, [job])
        self._jobs.creator.check_worker(connection, tenant_id=caller.tenant_id, worker_id=spec.worker_id)

    def show(self, caller: Caller, subscription_id: str) -> Subscription:
        """Return a subscription. Raise `SubscriptionNotFound`."""
        with self._database.connect() as connection:
            return shown_to(caller, _show(connection, caller, subscription_id))

    def page(
        self, caller: Caller, subscription_filter: SubscriptionFilter, *, bounds: PageBounds
    ) -> tuple[list[Subscription], int]:
        with self._database.connect() as connection:
            found, total = subscriptions.page(
                connection, tenant_id=caller.tenant_id, subscription_filter=subscription_filter, bounds=bounds
            )
        return [shown_to(caller, each) for each in found], total

    def change(self, caller: Caller, subscription_id: str, changes: Mapping[str, Any]) -> Subscription:
        """Change fields of a subscription for future events.

        Raise `SubscriptionNotFound`, and like `create`.
        """
        with self._database.transaction() as connection:
            locked = _lock(connection, caller, subscription_id)
            changers = api_keys.with_changer(connection, caller, locked.changers)
            changed = replace(locked, **changes, changers=changers)
            if (changed.worker_id, changed.priority) != (locked.worker_id, locked.priority):
                self._check(connection, caller, changed)
            return subscriptions.change(connection, changed)

    def pause(self, caller: Caller, subscription_id: str, /, *, reason: str | None = None) -> tuple[bool, Subscription]:
        """Pause a subscription. Return whether it was paused before, and its record. Raise `SubscriptionNotFound`."""
        with self._database.transaction() as connection:
            locked = _lock(connection, caller, subscription_id)
            if locked.paused is None:
                subscriptions.pause(connection, locked, by=caller.actor, reason=reason)
            return locked.paused is not None, _show(connection, caller, subscription_id)

    def resume(self, caller: Caller, subscription_id: str, /) -> tuple[bool, Subscription]:
        """Resume a subscription. Return whether it was paused before, and its record. Raise `SubscriptionNotFound`."""
        with self._database.transaction() as connection:
            locked = _lock(connection, caller, subscription_id)
            if locked.paused is not None:
                subscriptions.resume(connection, locked)
            return locked.paused is not None, _show(connection, caller, subscription_id)

    def delete(self, caller: Caller, subscription_id: str) -> None:
        """Delete a subscription; its jobs continue. Raise `SubscriptionNotFound`."""
        with self._database.transaction() as connection:
            if not subscriptions.delete(connection, tenant_id=caller.tenant_id, subscription_id=subscription_id):
                raise SubscriptionNotFound


def try_rule(event: dict[str, Any], *, event_type: str | None, rule: Rule) -> Tried:
    """Try a subscription on an event's record, without the database."""
    if event_type is not None and not matches_type(event_type, event["type"]):
        reason = f"type: {json.dumps(event['type'])} does not match {json.dumps(event_type)}"
        return Tried(matches=False, reason=reason, input_json=None)
    if rule.pattern is not None and (reason_of := rule.pattern.reason(event)) is not None:
        return Tried(matches=False, reason=reason_of, input_json=None)
    try:
        return Tried(matches=True, reason=None, input_json=make_input(rule, event))
    except RequestError as error:
        return Tried(matches=True, reason=str(error), input_json=None)


def _show(connection: Connection, caller: Caller, subscription_id: str) -> Subscription:
    found = subscriptions.show(connection, tenant_id=caller.tenant_id, subscription_id=subscription_id)
    if found is None:
        raise SubscriptionNotFound
    return found


def _lock(connection: Connection, caller: Caller, subscription_id: str) -> Subscription:
    locked = subscriptions.lock(connection, tenant_id=caller.tenant_id, subscription_id=subscription_id)
    if locked is None:
        raise SubscriptionNotFound
    return locked


class KnownSubscriptions:
    """Find the subscriptions to an event type. They are read once per version."""

    def __init__(self) -> None:
        self._known: Cache[str, tuple[int, SubscriptionIndex]] = Cache(_MAX_TENANTS, max_weight=_MAX_KEPT)

    def candidates(
        self, connection: Connection, *, tenant_id: str, version: int | None, type_: str
    ) -> Sequence[Subscription]:
        """Return the subscriptions that match the type, oldest first.

        `version`: the version of the tenant's subscriptions in this transaction; None if it never had any.
        """
        return [] if version is None else self._index(connection, tenant_id, version).candidates(type_)

    def _index(self, connection: Connection, tenant_id: str, version: int) -> SubscriptionIndex:
        known = self._known.get(tenant_id)
        if known is not None and known[0] == version:
            return known[1]
        found = subscriptions.unpaused(connection, tenant_id=tenant_id, version=version)
        index = SubscriptionIndex(found)
        self._known.put(tenant_id, (version, index), weight=len(found))
        return index
