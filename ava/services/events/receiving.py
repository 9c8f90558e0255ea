"""Receive requests to hooks: one transaction stores the delivery, its event and its jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ava.domain.access import actor
from ava.domain.access.actor import Actor
from ava.domain.access.caller import Caller, Role
from ava.domain.access.tokens import without_secrets
from ava.domain.delivery import DeliveryStatus
from ava.domain.events import verification
from ava.domain.events.event import EventSpec, InboundEvent, Refusal, compact_json, source_of_hook
from ava.domain.events.hook import (
    SKIP_REASON,
    BodyTooLarge,
    Hook,
    Receipt,
    Received,
    begin_of,
    default_type,
    read_body,
    stored_headers,
    unpacked,
    within_bytes,
)
from ava.domain.events.subscription import make_input
from ava.domain.events.verifiers import Scheme
from ava.domain.jobs.job import Job, JobSpec, Trigger
from ava.domain.limits.table import HOOK_BODY_BYTES, REFUSED_BYTES
from ava.domain.strings import storable
from ava.errors import (
    Contained,
    DatabaseUnavailable,
    PayloadTooLarge,
    RequestError,
    SignatureRefused,
    TooMany,
    TooManyComparisons,
)
from ava.metrics import counters
from ava.services.events.event_jobs import Capacity, EventJobs
from ava.services.events.hooks import OpenHook
from ava.services.jobs import Jobs
from ava.store.containments import scopes
from ava.store.containments.scopes import NewJobFacts
from ava.store.delivery_table import delivery_uuid
from ava.store.engine.database import Connection, Database
from ava.store.events import events, hook_deliveries
from ava.store.events.hook_deliveries import RECEIVED_TABLE, Arrival, Arrived
from ava.store.events.hooks import hook_uuid
from ava.telemetry import tracing

_TOO_LARGE = HOOK_BODY_BYTES.message(
    f"The body is too large; at most {HOOK_BODY_BYTES.value:,} bytes are accepted here, also after decompression."
)
#: A body of this size takes long to verify and parse.
_LONG_BYTES = 2**16
_MAX_REASON, _MAX_ADDRESS = 500, 200


@dataclass(frozen=True, kw_only=True)
class Stored:
    receipt: Receipt
    jobs: Sequence[Job] = field(default=())
    has_event: bool = False


def _run_here(work: Callable[[], Any]) -> Any:
    return work()


class Receiving:
    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        event_jobs: EventJobs,
        *,
        run_long: Callable[[Callable[[], Any]], Any] = lambda work: work(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._event_jobs = event_jobs
        self._run_long = run_long
        self._clock = clock

    def receive(self, opened: OpenHook, request: Received, *, address: str, by: Sequence[Actor] = ()) -> Receipt:
        """Verify a request, store it and create its jobs. On return it is durable. `by`: as for `store`.

        Store refused requests, too, if the database is available. Raise `SignatureRefused`, `PayloadTooLarge`,
        `TooMany` if a tenant's quota refuses the job, `TooManyComparisons`.
        """
        now = opened.now(self._clock())
        is_long = len(request.body) > _LONG_BYTES
        run = self._run_long if is_long else _run_here
        reason = run(lambda: fault(opened, request, now=now))
        if reason is not None:
            self._refuse(opened.hook, request, address, SignatureRefused(reason))
            raise SignatureRefused(reason)
        try:
            read, data_json = run(lambda: parsed(request))
        except BodyTooLarge:
            self._refuse(opened.hook, request, address, error := PayloadTooLarge(_TOO_LARGE))
            raise error from None
        handshake = verification.handshake_response(opened.hook.verifier, read)
        if handshake is not None:
            return Receipt(handshake=handshake)
        arrival = make_arrival(opened.hook, read, address)
        try:
            with self._database.transaction() as connection:
                stored = self.store(connection, opened.hook, read, data_json, arrival, Capacity(), now=now, by=by)
        except (TooMany, TooManyComparisons) as error:
            self._refuse(opened.hook, read, address, error)
            raise
        self._jobs.publish(stored.jobs)
        counters.HOOK_DELIVERIES.labels(stored.receipt.status.value).inc()
        if stored.has_event:
            counters.EVENTS.labels("hook", "stored").inc()
        return stored.receipt

    def refuse_large(self, opened: OpenHook, request: Received, *, address: str, size: int) -> None:
        """Store that a body was too large to read. Raise `PayloadTooLarge`."""
        error = PayloadTooLarge(_TOO_LARGE)
        self._refuse(opened.hook, request, address, error, body_bytes=size)
        raise error

    def _refuse(
        self, hook: Hook, request: Received, address: str, error: RequestError, *, body_bytes: int | None = None
    ) -> None:
        """Store the beginning of a refused request, if the database and the tenant's quota allow.

        `body_bytes`: the size of a body that was too large to read.
        """
        counters.HOOK_DELIVERIES.labels(DeliveryStatus.REFUSED.value).inc()
        headers = within_bytes(request.headers, REFUSED_BYTES.value)
        # Read the id from the whole request, although only a part is stored.
        arrival = replace(
            make_arrival(hook, request, address),
            headers_json=compact_json(stored_headers(headers, hook.verifier)),
            body=None if body_bytes is not None else begin_of(request.body, REFUSED_BYTES.value),
            body_bytes=len(request.body) if body_bytes is None else body_bytes,
        )
        try:
            with self._database.connect() as connection:
                self._jobs.creator.admit_bytes(connection, tenant_id=hook.tenant_id, size=len(arrival.body or b""))
                hook_deliveries.refuse(
                    connection, arrival, response_status=error.status, reason=storable(str(error), _MAX_REASON)
                )
        except (DatabaseUnavailable, TooMany):
            # The response names the fault; nothing was promised about storage.
            return

    def store(
        self,
        connection: Connection,
        hook: Hook,
        request: Received,
        data_json: str,
        arrival: Arrival,
        capacity: Capacity,
        *,
        now: float,
        by: Sequence[Actor] = (),
        may_repeat: bool = False,
    ) -> Stored:
        """Store an authentic request with its event and jobs, in a transaction; a paused hook processes only replays.

        `capacity`: the transaction's remaining capacity for events. `by`: the caller who sends a test or a replay; the
        sender is otherwise the hook's creator. `may_repeat`: a deliberate replay, which is not deduplicated. Raise
        `TooMany` and `TooManyComparisons`, which must end the transaction.
        """
        self._jobs.creator.admit_bytes(connection, tenant_id=hook.tenant_id, size=len(request.body))
        is_skipped = hook.paused is not None and arrival.replay_of is None
        keys = [] if may_repeat else _dedupe_keys(hook, request, now=now, is_stored=not is_skipped)
        spec = _spec(hook, data_json, arrival)
        matches = not is_skipped and (hook.pattern is None or hook.matches(_unsaved_record(hook, spec)))
        arrived = hook_deliveries.accept(
            connection,
            arrival,
            response_status=hook.verifier.answer_status,
            keys=keys,
            makes_job=matches and hook.worker_id is not None,
            makes_event=matches and hook.worker_id is None,
            skipped=SKIP_REASON if is_skipped else None,
        )
        if arrived.duplicate_of is not None:
            return Stored(receipt=self._first(connection, hook, arrived.duplicate_of))
        senders = (*by, hook.created_by, *actor.split(hook.changers), actor.cause_of(hook.id))
        if arrived.job_uuid is not None:
            return self._make_job(connection, hook, spec, arrived, keys, senders)
        if arrived.event_id is not None:
            return self._make_event(connection, hook, spec, arrived, keys, capacity, senders)
        return Stored(receipt=Receipt(delivery_id=arrived.delivery_id, is_skipped=is_skipped))

    def _first(self, connection: Connection, hook: Hook, delivery_id: str) -> Receipt:
        """Return the receipt of the original of a duplicate delivery."""
        found = RECEIVED_TABLE.show(connection, tenant_id=hook.tenant_id, owner_id=hook.id, delivery_id=delivery_id)
        if found is not None and found.duplicate_of is not None:
            return self._first(connection, hook, found.duplicate_of)
        job_ids = () if found is None else found.job_ids
        return Receipt(delivery_id=delivery_id, is_duplicate=True, job_ids=job_ids)

    def _make_job(
        self,
        connection: Connection,
        hook: Hook,
        spec: EventSpec,
        arrived: Arrived,
        keys: Sequence[tuple[bytes, float]],
        senders: Sequence[Actor],
    ) -> Stored:
        event = InboundEvent(id=arrived.delivery_id, tenant_id=hook.tenant_id, spec=spec, created_at=arrived.created_at)
        outcome: Job | RequestError
        try:
            job_spec = JobSpec(
                worker_id=hook.worker_id or "",
                input_json=make_input(hook, event.record()),
                trigger=Trigger.WEBHOOK,
                priority=hook.priority,
            )
            (new,) = self._jobs.creator.prepare(
                tenant_id=hook.tenant_id, user_id=hook.id, specs=[job_spec], identities=senders
            )
            (outcome,) = self._jobs.creator.create(connection, [replace(new, uuid=arrived.job_uuid)])
        except PayloadTooLarge as error:
            outcome = error
        if isinstance(outcome, Job):
            return Stored(receipt=Receipt(delivery_id=arrived.delivery_id, job_ids=[outcome.id]), jobs=[outcome])
        if isinstance(outcome, TooMany):
            raise outcome
        return _make_nothing(connection, hook, arrived, keys, outcome)

    def _make_event(
        self,
        connection: Connection,
        hook: Hook,
        spec: EventSpec,
        arrived: Arrived,
        keys: Sequence[tuple[bytes, float]],
        capacity: Capacity,
        senders: Sequence[Actor],
    ) -> Stored:
        if arrived.may_be_contained and (contained := _containment_of(connection, hook, spec, senders)) is not None:
            return _make_nothing(connection, hook, arrived, keys, contained)
        event = InboundEvent(
            id=arrived.event_id or "",
            tenant_id=hook.tenant_id,
            spec=spec,
            created_at=arrived.created_at,
            traceparent=tracing.current(),
            sender=actor.join(senders),
        )
        made = self._event_jobs.make(connection, [event], capacity, version=arrived.version)
        events.insert(
            connection,
            made.events,
            fanned_out_to=made.fanned_out_to,
            version=arrived.version,
            hook_uuid=hook_uuid(hook.id),
            delivery_uuid=delivery_uuid(arrived.delivery_id),
        )
        (stored,) = made.events
        receipt = Receipt(
            delivery_id=arrived.delivery_id,
            job_ids=stored.job_ids,
            refused=stored.refused,
            more_count=stored.more_count,
        )
        return Stored(receipt=receipt, jobs=made.jobs, has_event=True)


def _containment_of(connection: Connection, hook: Hook, spec: EventSpec, senders: Sequence[Actor]) -> Contained | None:
    """Return the refusal of a hook's event by a containment that covers its jobs of all workers, tags and trees."""
    origins = actor.join([*senders, actor.source_cause(spec.source)])
    facts = NewJobFacts(
        tenant_id=hook.tenant_id, worker_id="", uuid=None, tree_uuid=None, tags_json=None, origins=origins, is_own=False
    )
    found = scopes.covering(connection, [facts]).get(0)
    return None if found is None or not found.refuses else Contained(found.containment_id)


def _make_nothing(
    connection: Connection, hook: Hook, arrived: Arrived, keys: Sequence[tuple[bytes, float]], error: RequestError
) -> Stored:
    """Skip a contained delivery, or refuse one. The sender is not at fault, and would only resend the same request."""
    is_contained = isinstance(error, Contained)
    hook_deliveries.make_nothing(
        connection,
        tenant_id=hook.tenant_id,
        hook_id=hook.id,
        delivery_id=arrived.delivery_id,
        response_status=hook.verifier.answer_status,
        reason=storable(str(error), _MAX_REASON),
        digests=[digest for digest, _ in keys],
        status=DeliveryStatus.SKIPPED if is_contained else DeliveryStatus.REFUSED,
    )
    refused = () if is_contained else (Refusal(subscription_id=hook.id, reason=str(error)),)
    return Stored(receipt=Receipt(delivery_id=arrived.delivery_id, is_skipped=is_contained, refused=refused))


def caller_of(hook: Hook) -> Caller:
    """Return the caller for a request to a hook: its tenant, without further permissions."""
    return Caller(tenant_id=hook.tenant_id, user_id=hook.id, role=Role.TENANT_USER)


def fault(opened: OpenHook, request: Received, *, now: float | None) -> str | None:
    """Return why a request is not authentic; None if it is. `now`: None skips the check of the time."""
    row = opened.hook.verifier
    if row.needs_secret and not opened.secrets:
        return "The hook has no secret yet; set it with PATCH /v1/ava/hooks/:id."
    return verification.verify(row, opened.secrets, request, now=now, tolerance_seconds=opened.hook.tolerance_seconds)


def parsed(request: Received) -> tuple[Received, str]:
    """Return a request with its parsed body, and the body as JSON. Raise `BodyTooLarge` if the unpacked one is."""
    encoding = request.headers.get("content-encoding", "")
    body = unpacked(request.body, encoding, max_bytes=HOOK_BODY_BYTES.value)
    data, data_json = read_body(body)
    return replace(request, data=data), data_json


def make_arrival(hook: Hook, request: Received, address: str, replay_of: str | None = None) -> Arrival:
    """Return a request as it is stored, with masked credentials."""
    row = hook.verifier
    query = {name: without_secrets(value) for name, value in request.query.items()}
    if row.scheme is Scheme.URL_SECRET:
        query.pop(row.parameter or "", None)
    return Arrival(
        tenant_id=hook.tenant_id,
        hook_id=hook.id,
        event_type=_event_type(hook, request),
        source_id=verification.sender_id(row, request),
        address=storable(address, _MAX_ADDRESS),
        headers_json=compact_json(stored_headers(request.headers, row)),
        query_json=compact_json(query),
        body=request.body,
        body_bytes=len(request.body),
        replay_of=replay_of,
    )


def _dedupe_keys(hook: Hook, request: Received, *, now: float, is_stored: bool) -> list[tuple[bytes, float]]:
    """Return the deduplication keys of a request, each with its validity in seconds.

    The keys of a skipped delivery (not `is_stored`) are only compared with earlier ones: it has started nothing, so its
    replay, or the sender's next try, is no duplicate of it.
    """
    keys = verification.dedupe_keys(
        hook.verifier, hook.dedupe, request, now=now, tolerance_seconds=hook.tolerance_seconds
    )
    return [(digest, seconds if is_stored else 0.0) for digest, seconds in keys]


def _event_type(hook: Hook, request: Received) -> str:
    return hook.event_type or verification.derived_type(hook.verifier, request) or default_type(hook.name)


def _spec(hook: Hook, data_json: str, arrival: Arrival) -> EventSpec:
    return EventSpec(
        type=arrival.event_type or default_type(hook.name),
        source=source_of_hook(hook.id),
        source_id=arrival.source_id,
        data_json=data_json,
        headers_json=arrival.headers_json,
    )


def _unsaved_record(hook: Hook, spec: EventSpec) -> dict[str, Any]:
    """Return the record of an event that is not stored yet, with neither id nor creation time."""
    event = InboundEvent(id="", tenant_id=hook.tenant_id, spec=spec, created_at=datetime.now(UTC))
    return event.record() | {"id": None, "created_at": None}
