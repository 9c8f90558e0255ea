"""Use cases of received deliveries: replay them, and send a test."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.delivery import Delivery, DeliveryStatus
from ava.domain.events import verification
from ava.domain.events.hook import SKIP_REASON, BodyTooLarge, Receipt, Received, TestResult
from ava.domain.events.verifiers import Scheme
from ava.domain.jobs.job import Job
from ava.domain.limits.table import REPLAYED_DELIVERIES
from ava.errors import HookNotFound, HookStateConflict, InvalidFields, RequestError
from ava.services import replays
from ava.services.deliveries import Deliveries
from ava.services.events.event_jobs import Capacity
from ava.services.events.hooks import Hooks, OpenHook
from ava.services.events.receiving import Receiving, fault, make_arrival, parsed
from ava.services.jobs import Jobs
from ava.store.delivery_table import DeliveryFilter
from ava.store.engine.database import Connection, Database
from ava.store.events import hook_deliveries, hooks
from ava.store.events.hook_deliveries import RECEIVED_TABLE, StoredRequest
from ava.store.jobs import idempotency

#: Max total bytes of bodies that one call replays.
_MAX_REPLAYED_BYTES = 64 * 2**20
#: Deliveries per statement.
_BATCH = 50


class TestMode(StrEnum):
    """How a test request is signed."""

    #: Keep pytest from collecting this class as a test.
    __test__ = False

    SIGNED = "signed"
    #: A byte of the body is changed after signing.
    TAMPERED = "tampered"
    UNSIGNED = "unsigned"


class ReceivedDeliveries(Deliveries):
    """Use cases of the deliveries of hooks."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        hooks_service: Hooks,
        receiving: Receiving,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            database,
            RECEIVED_TABLE,
            not_found=HookNotFound,
            is_known=lambda connection, tenant_id, id_: (
                hooks.show(connection, tenant_id=tenant_id, hook_id=id_) is not None
            ),
        )
        self._jobs = jobs
        self._hooks = hooks_service
        self._receiving = receiving
        self._clock = clock

    def replay(self, caller: Caller, hook_id: str, delivery_id: str, key: str | None = None) -> tuple[Delivery, bool]:
        """Receive a delivery again, with the current subscriptions. Return the new one, and True for a repeated call.

        Verify its signature with the current secrets, but not its time. Only a skipped delivery can be a duplicate, of
        a delivery that was processed since. Raise `HookNotFound`, `HookStateConflict` if it
        is still not authentic, `TooMany`, `IdempotencyKeyReused`.
        """
        with self._database.transaction() as connection:
            asked = [hook_id, delivery_id]
            if (earlier := replays.reserve(connection, caller, key, kind="replay", asked=asked)) is not None:
                return self._bodiless(connection, caller, hook_id, ids.encode("del", earlier)), True
            opened = self._hooks.open(connection, caller, hook_id)
            found = hook_deliveries.read_request(
                connection, tenant_id=caller.tenant_id, hook_id=hook_id, delivery_id=delivery_id
            )
            if found is None:
                raise HookNotFound
            receipt, jobs = self._replay(connection, caller, opened, found, Capacity())
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[receipt.delivery_id])
            made = self._bodiless(connection, caller, hook_id, receipt.delivery_id)
        self._jobs.publish(jobs)
        return made, False

    def _bodiless(self, connection: Connection, caller: Caller, hook_id: str, delivery_id: str) -> Delivery:
        return replace(self._show(connection, caller, hook_id, delivery_id), body=None)

    def _replay(
        self, connection: Connection, caller: Caller, opened: OpenHook, stored: StoredRequest, capacity: Capacity
    ) -> tuple[Receipt, Sequence[Job]]:
        delivery, hook = stored.delivery, opened.hook
        if stored.body is None or len(stored.body) < (delivery.body_bytes or 0):
            raise HookStateConflict(
                "Only the beginning of this body is stored, so it cannot be replayed; let the sender resend it."
            )
        request = Received(
            headers=json.loads(delivery.headers_json or "{}"), body=stored.body, query=json.loads(stored.query_json)
        )
        if (reason := _fault_of(opened, delivery, request)) is not None:
            raise HookStateConflict(f"The delivery is not genuine: {reason}")
        try:
            read, data_json = parsed(request)
        except BodyTooLarge:
            raise HookStateConflict("The body is too large once it is unpacked.") from None
        arrival = make_arrival(hook, read, delivery.address or "", replay_of=delivery.id)
        may_repeat = delivery.status is not DeliveryStatus.SKIPPED
        made = self._receiving.store(
            connection,
            hook,
            read,
            data_json,
            arrival,
            capacity,
            now=opened.now(self._clock()),
            by=[caller.actor],
            may_repeat=may_repeat,
        )
        return made.receipt, made.jobs

    def replay_many(
        self, caller: Caller, hook_id: str, delivery_filter: DeliveryFilter, key: str | None = None
    ) -> tuple[int, bool]:
        """Receive many deliveries again, all or none. Return their number, and True for a repeated call.

        Leave out duplicates, earlier replays, and deliveries that are still not authentic. Raise `InvalidFields` if
        there are too many, and like `replay`.
        """
        digest = hashlib.sha256(repr(("replays", hook_id, delivery_filter)).encode()).digest()
        done: list[str] = []
        jobs: list[Job] = []
        capacity = Capacity()
        with self._database.transaction() as connection:
            if key is not None:
                earlier = replays.reserve_for(connection, caller, key, digest)
                if earlier is not None:
                    return len(earlier), True
            opened = self._hooks.open(connection, caller, hook_id)
            self._refuse_many(connection, caller, hook_id, delivery_filter)
            last: str | None = None
            while True:
                found = hook_deliveries.read_requests(
                    connection,
                    tenant_id=caller.tenant_id,
                    hook_id=hook_id,
                    delivery_filter=delivery_filter,
                    limit=_BATCH,
                    after_id=last,
                )
                for each in (each for each in found if each.delivery.replay_of is None):
                    with suppress(HookStateConflict):
                        receipt, made = self._replay(connection, caller, opened, each, capacity)
                        done += [] if receipt.is_duplicate else [receipt.delivery_id]
                        jobs += made
                if len(found) < _BATCH:
                    break
                last = found[-1].delivery.id
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=done)
        self._jobs.publish(jobs)
        return len(done), False

    def _refuse_many(
        self, connection: Connection, caller: Caller, hook_id: str, delivery_filter: DeliveryFilter
    ) -> None:
        max_deliveries = REPLAYED_DELIVERIES.value
        count, size = hook_deliveries.sum_of(
            connection,
            tenant_id=caller.tenant_id,
            hook_id=hook_id,
            delivery_filter=delivery_filter,
            limit=max_deliveries + 1,
        )
        if count > max_deliveries or size > _MAX_REPLAYED_BYTES:
            sentence = (
                f"More than {max_deliveries:,} deliveries match, or their bodies have more than 64 MiB; replay a "
                "shorter period."
            )
            reason = REPLAYED_DELIVERIES.message(sentence)
            raise InvalidFields(f"since: {reason}", {"since": [reason]})

    def send_test(
        self, caller: Caller, hook_id: str, *, mode: TestMode, body: bytes, headers: dict[str, str]
    ) -> TestResult:
        """Receive a request that this process signs like the hook's sender. It has all effects of a real one.

        Raise `HookNotFound`, `InvalidFields` if only the sender can sign.
        """
        with self._database.connect() as connection:
            opened = self._hooks.open(connection, caller, hook_id)
        request = _signed(opened, mode, body, headers, now=opened.now(self._clock()))
        try:
            receipt = self._receiving.receive(opened, request, address=f"test of {caller.user_id}", by=[caller.actor])
        except RequestError as error:
            if error.status >= 500:
                raise
            return TestResult(status=error.status, reason=str(error), delivery_id=None, is_duplicate=False, job_ids=())
        return TestResult(
            status=200 if receipt.handshake is not None else opened.hook.verifier.answer_status,
            reason=SKIP_REASON if receipt.is_skipped else next((each.reason for each in receipt.refused), None),
            delivery_id=receipt.delivery_id or None,
            is_duplicate=receipt.is_duplicate,
            job_ids=receipt.job_ids,
        )


def _fault_of(opened: OpenHook, delivery: Delivery, request: Received) -> str | None:
    row = opened.hook.verifier
    if row.scheme in (Scheme.SHARED_SECRET, Scheme.URL_SECRET) or "{url}" in row.signed:
        # The secret and the URL are not stored, but the response of that time is.
        is_unsigned = delivery.status is DeliveryStatus.REFUSED and delivery.response_status == _UNAUTHORIZED
        return delivery.reason if is_unsigned else None
    return fault(opened, request, now=None)


_UNAUTHORIZED = 401


def _signed(opened: OpenHook, mode: TestMode, body: bytes, headers: dict[str, str], *, now: float) -> Received:
    row = opened.hook.verifier
    request = Received(headers=headers, body=body)
    if mode is TestMode.UNSIGNED or not row.needs_secret:
        return request
    if not opened.secrets:
        reason = "The hook has no secret yet; set it with PATCH first."
        raise InvalidFields(f"mode: {reason}", {"mode": [reason]})
    is_other = mode is TestMode.TAMPERED and row.scheme is not Scheme.HMAC
    secret = f"{opened.secrets[0]}{'x' if is_other else ''}"
    try:
        signed = verification.sign(row, secret, request, now=now)
    except ValueError as error:
        raise InvalidFields(f"mode: {error}", {"mode": [str(error)]}) from None
    query = {row.parameter: secret} if row.scheme is Scheme.URL_SECRET and row.parameter else {}
    request = replace(request, headers={**headers, **signed}, query=query)
    if mode is TestMode.TAMPERED:
        request = replace(request, body=bytes([body[0] ^ 1, *body[1:]]) if body else b"x")
    return request
