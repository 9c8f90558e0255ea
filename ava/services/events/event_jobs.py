"""The jobs that events make, in the transaction that stores the events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ava.domain import ids
from ava.domain.events.event import InboundEvent, Refusal
from ava.domain.events.subscription import Subscription, make_input
from ava.domain.jobs.job import Job, JobSpec, Trigger
from ava.domain.limits.inbound import EVENT_JOBS
from ava.errors import RequestError
from ava.services.events.known_subscriptions import KnownSubscriptions
from ava.services.making.make import Making
from ava.store.engine.database import Connection
from ava.store.events import events, subscriptions

#: The jobs that one transaction makes.
MAX_JOBS = EVENT_JOBS.value
#: The refusals of one event that are kept.
_MAX_REFUSALS = 1_000
#: Characters of a reason that are kept.
_MAX_REASON = 500
#: Before every subscription.
_BEFORE_ALL = ids.encode("sub", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, kw_only=True)
class MadeJobs:
    """What a transaction has made of events."""

    events: Sequence[InboundEvent]
    jobs: Sequence[Job]
    #: By event: the last subscription whose job is made, where further ones are still to be made.
    fanned_out_to: dict[str, str]


class EventJobs:
    """Makes the jobs of events, of those that their tenant subscribes to at the moment."""

    def __init__(self, making: Making, *, run_long: Callable[[Callable[[], Any]], Any] = lambda work: work()) -> None:
        self._making = making
        self._known = KnownSubscriptions(run_long)

    def make(self, connection: Connection, new: Sequence[InboundEvent], *, version: int | None) -> MadeJobs:
        """Make up to `MAX_JOBS` jobs of new events of one tenant. Returns the events with what became of them.

        The fan-out makes the others. `version`: that of the tenant's subscriptions. Raises `DatabaseUnavailable`.
        """
        made: list[InboundEvent] = []
        jobs: list[Job] = []
        fanned_out_to: dict[str, str] = {}
        room = MAX_JOBS
        for event in new:
            matching = self._matching(connection, event, version)
            some = matching[:room]
            room -= len(some)
            of_event, refused = self._make(connection, event, some)
            jobs += of_event
            if len(some) < len(matching):
                fanned_out_to[event.id] = some[-1].id if some else _BEFORE_ALL
            made.append(
                replace(
                    event,
                    job_ids=[job.id for job in of_event],
                    refused=refused,
                    more=len(matching) - len(some),
                )
            )
        return MadeJobs(events=made, jobs=jobs, fanned_out_to=fanned_out_to)

    def run_next(self, connection: Connection, *, after_tenant: str) -> tuple[str, int] | None:
        """Make the next jobs of an event that has more than its own transaction could make, in a transaction.

        Of the next tenant after one. Returns that tenant and the number of jobs; None if there is no such event.
        """
        claimed = events.claim_unfinished(connection, after_tenant=after_tenant)
        if claimed is None:
            return None
        event, last = claimed
        version = subscriptions.version(connection, tenant_id=event.tenant_id)
        matching = self._matching(connection, event, version, after_id=last)
        some = matching[:MAX_JOBS]
        jobs, refused = self._make(connection, event, some, may_publish=False)
        events.advance(
            connection,
            event,
            job_ids=[job.id for job in jobs],
            refused=[*event.refused, *refused][:_MAX_REFUSALS],
            to=some[-1].id if len(some) < len(matching) else None,
        )
        return event.tenant_id, len(jobs)

    def _matching(
        self, connection: Connection, event: InboundEvent, version: int | None, after_id: str = ""
    ) -> list[Subscription]:
        if version is None:
            return []
        return self._known.matching(
            connection, tenant_id=event.tenant_id, version=version, event=event.record(), after_id=after_id
        )

    def _make(
        self,
        connection: Connection,
        event: InboundEvent,
        matching: Sequence[Subscription],
        *,
        may_publish: bool = True,
    ) -> tuple[list[Job], list[Refusal]]:
        if not matching:
            return [], []
        record = event.record()
        refused: list[Refusal] = []
        asked: list[tuple[Subscription, JobSpec]] = []
        for each in matching:
            try:
                asked.append((each, _spec(each, record)))
            except RequestError as error:
                refused.append(_refusal(each, error))
        prepared = self._making.prepare(tenant_id=event.tenant_id, user_id="", specs=[spec for _, spec in asked])
        new = [
            replace(
                each,
                user_id=subscription.id,
                may_publish=each.may_publish and may_publish,
                traceparent=each.traceparent or event.traceparent,
            )
            for each, (subscription, _) in zip(prepared, asked, strict=True)
        ]
        jobs: list[Job] = []
        for (subscription, _), outcome in zip(asked, self._making.make(connection, new), strict=True):
            if isinstance(outcome, Job):
                jobs.append(outcome)
            else:
                refused.append(_refusal(subscription, outcome))
        return jobs, refused


def _spec(subscription: Subscription, record: dict[str, Any]) -> JobSpec:
    return JobSpec(
        worker_id=subscription.worker_id,
        input_json=make_input(subscription, record),
        trigger=Trigger.EVENT,
        priority=subscription.priority,
    )


def _refusal(subscription: Subscription, error: RequestError) -> Refusal:
    return Refusal(subscription_id=subscription.id, reason=str(error)[:_MAX_REASON])
