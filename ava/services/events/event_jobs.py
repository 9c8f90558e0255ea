"""Create the jobs of events, in the transaction that stores the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from ava.domain import ids
from ava.domain.access import actor
from ava.domain.events.event import InboundEvent, Refusal
from ava.domain.events.patterns import Comparisons
from ava.domain.events.subscription import Subscription, make_input
from ava.domain.jobs.job import Job, JobSpec, Trigger
from ava.domain.limits.table import EVENT_COMPARISONS, EVENT_COPIED_BYTES, EVENT_JOBS
from ava.errors import PayloadTooLarge, RequestError, TooManyComparisons
from ava.process.pauses import Pauses
from ava.services.creation.job_creator import JobCreator
from ava.services.events.subscriptions import KnownSubscriptions
from ava.store.engine.database import Connection
from ava.store.events import events
from ava.store.events.events import UnfinishedEvent

MAX_JOBS = EVENT_JOBS.value
#: Max bytes of the inputs that one transaction creates, unless a single input has more.
_MAX_BYTES = 4 * 2**20
_TOO_MANY_BYTES = EVENT_COPIED_BYTES.message(
    f"The inputs of this event's jobs have more than {EVENT_COPIED_BYTES.value:,} bytes in total; give the "
    "subscriptions an `input` template that copies only a part of the event."
)
#: Stored refusals of one event.
_MAX_REFUSALS = 1_000
_MAX_REASON = 500
#: Sorts before every subscription.
_BEFORE_ALL = ids.encode("sub", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, kw_only=True)
class CreatedJobs:
    events: Sequence[InboundEvent]
    jobs: Sequence[Job]
    #: By event: the last processed subscription, if others remain.
    fanned_out_to: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Match:
    """A subscription that matches an event, or failed with `error`."""

    subscription: Subscription
    record: dict[str, Any]
    error: TooManyComparisons | None = None

    def spec(self) -> JobSpec:
        """Return the job to create. Raise `RequestError` if the event cannot create it."""
        if self.error is not None:
            raise self.error
        return JobSpec(
            worker_id=self.subscription.worker_id,
            input_json=make_input(self.subscription, self.record),
            trigger=Trigger.EVENT,
            priority=self.subscription.priority,
        )


@dataclass(kw_only=True, slots=True)
class Capacity:
    jobs: int = MAX_JOBS
    bytes: int = _MAX_BYTES
    comparisons: Comparisons = field(default_factory=Comparisons)


@dataclass(kw_only=True, slots=True)
class _Batch:
    #: Bytes of the inputs of all the event's jobs, including earlier batches.
    copied_bytes: int
    #: Processed matches: their jobs are created or refused.
    count: int = 0
    jobs: list[Job] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    #: True after the first refusal by `event_copied_bytes`. Later matches are refused unread.
    is_full: bool = False

    def take(self, match: _Match, capacity: Capacity) -> JobSpec | None:
        """Return the job to create; None if the transaction's capacity is used up. Raise `RequestError` if it is
        refused.
        """
        if not self.is_full:
            spec = match.spec()
            size = len(spec.input_json)
            if capacity.bytes < size and capacity.bytes < _MAX_BYTES:
                return None
            if self.copied_bytes + size <= EVENT_COPIED_BYTES.value:
                capacity.bytes -= size
                self.copied_bytes += size
                return spec
            self.is_full = True
        raise PayloadTooLarge(_TOO_MANY_BYTES)


class EventJobs:
    """Creates jobs for events, by the subscriptions that their tenants had when the events arrived."""

    def __init__(self, creator: JobCreator) -> None:
        self._creator = creator
        self._known = KnownSubscriptions()

    def make(
        self, connection: Connection, new: Sequence[InboundEvent], capacity: Capacity, *, version: int | None
    ) -> CreatedJobs:
        """Create the jobs of a tenant's new events within `capacity`; the fan-out creates the rest.

        Return the events with their results. `version`: the version of the tenant's subscriptions. Raise
        `TooManyComparisons` if all patterns together need too many.
        """
        made: list[InboundEvent] = []
        jobs: list[Job] = []
        fanned_out_to: dict[str, str] = {}
        # Shared by all events, because a request may send a thousand that take half a millisecond each.
        pauses = Pauses()
        for event in new:
            matching = list(self._matching(connection, event, version, capacity.comparisons, pauses))
            if capacity.comparisons.count > EVENT_COMPARISONS.value:
                raise _too_many()
            batch = self._make(connection, event, matching, capacity, pauses)
            jobs += batch.jobs
            if batch.count < len(matching):
                fanned_out_to[event.id] = matching[batch.count - 1].subscription.id if batch.count else _BEFORE_ALL
            made.append(
                replace(
                    event,
                    job_ids=[job.id for job in batch.jobs],
                    refused=batch.refused,
                    more_count=len(matching) - batch.count,
                    copied_bytes=batch.copied_bytes,
                )
            )
            pauses.after_work()
        return CreatedJobs(events=made, jobs=jobs, fanned_out_to=fanned_out_to)

    def continue_event(self, connection: Connection, claimed: UnfinishedEvent) -> int:
        """Create the next jobs of a claimed event, in the transaction that claimed it. Return their number."""
        event, capacity, pauses = claimed.event, Capacity(), Pauses()
        found = self._matching(
            connection, event, claimed.version, capacity.comparisons, pauses, after_id=claimed.last_id
        )
        matching = list(islice(found, MAX_JOBS + 1))
        batch = self._make(connection, event, matching, capacity, pauses, may_publish=False)
        events.advance(
            connection,
            event,
            job_ids=[job.id for job in batch.jobs],
            refused=[*event.refused, *batch.refused][:_MAX_REFUSALS],
            copied_bytes=batch.copied_bytes,
            to=matching[batch.count - 1].subscription.id if batch.count < len(matching) else None,
        )
        return len(batch.jobs)

    def _matching(
        self,
        connection: Connection,
        event: InboundEvent,
        version: int | None,
        total: Comparisons,
        pauses: Pauses,
        after_id: str = "",
    ) -> Iterator[_Match]:
        """Yield the matching subscriptions after `after_id`, and subscriptions with too many comparisons."""
        candidates = self._known.candidates(connection, tenant_id=event.tenant_id, version=version, type_=event.type)
        if not candidates:
            return
        record = event.record()
        for each in candidates:
            if each.id <= after_id:
                continue
            try:
                if total.count > EVENT_COMPARISONS.value:
                    raise _too_many()
                if each.matches(record, total):
                    yield _Match(subscription=each, record=record)
            except TooManyComparisons as error:
                yield _Match(subscription=each, record=record, error=error)
            pauses.after_work()

    def _make(
        self,
        connection: Connection,
        event: InboundEvent,
        matching: Sequence[_Match],
        capacity: Capacity,
        pauses: Pauses,
        *,
        may_publish: bool = True,
    ) -> _Batch:
        batch = _Batch(copied_bytes=event.copied_bytes)
        asked = _ask(matching, capacity, batch, pauses)
        if not asked:
            return batch
        source = actor.source_cause(event.spec.source)
        prepared = self._creator.prepare(tenant_id=event.tenant_id, user_id="", specs=[spec for _, spec in asked])
        new = [
            replace(
                each,
                user_id=subscription.id,
                may_publish=each.may_publish and may_publish,
                traceparent=each.traceparent or event.traceparent,
                origin_text=actor.join(
                    [*actor.split(event.sender), subscription.created_by, *actor.split(subscription.changers), source]
                ),
            )
            for each, (subscription, _) in zip(prepared, asked, strict=True)
        ]
        for (subscription, _), outcome in zip(asked, self._creator.create(connection, new), strict=True):
            if isinstance(outcome, Job):
                batch.jobs.append(outcome)
            else:
                batch.refused.append(_refusal(subscription, outcome))
        return batch


def _ask(
    matching: Sequence[_Match], capacity: Capacity, batch: _Batch, pauses: Pauses
) -> list[tuple[Subscription, JobSpec]]:
    """Return the jobs to create for the first matches, within `capacity`, and count them in the batch."""
    asked: list[tuple[Subscription, JobSpec]] = []
    for each in matching[: capacity.jobs]:
        try:
            spec = batch.take(each, capacity)
            if spec is None:
                break
            asked.append((each.subscription, spec))
        except RequestError as error:
            batch.refused.append(_refusal(each.subscription, error))
        batch.count += 1
        pauses.after_work()
    capacity.jobs -= batch.count
    return asked


def _too_many() -> TooManyComparisons:
    sentence = EVENT_COMPARISONS.message(
        f"The tenant's subscriptions need more than {EVENT_COMPARISONS.value:,} comparisons with the events of one "
        "request; send fewer events per request, or shorten lists in their data."
    )
    return TooManyComparisons(f"data: {sentence}", {"data": [sentence]})


def _refusal(subscription: Subscription, error: RequestError) -> Refusal:
    return Refusal(subscription_id=subscription.id, reason=str(error)[:_MAX_REASON])
