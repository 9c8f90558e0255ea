"""Fan-out: create the body of each new event, once, and a delivery for each subscribed endpoint.

Tenants take turns (round-robin), statements are bounded, and failing events become dead letters, so that no tenant's
events can block other tenants.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Sequence
from itertools import takewhile

from ava.domain.record import make_record
from ava.domain.secrets.redaction import redact
from ava.domain.webhooks.webhook_events import make_body
from ava.errors import DatabaseUnavailable, LockTimeout, StatementTimeout
from ava.store.dead_letters import HalvedBatch
from ava.store.engine.database import Database
from ava.store.webhooks import fan_out
from ava.store.webhooks.fan_out import FanOutCandidate, NewEvent

_log = logging.getLogger(__name__)

BATCH = 200
_MAX_TENANTS = 50
#: Maximum deliveries that one batch creates. Its statement uses a processor for 50 to 100 ms without a pause.
MAX_DELIVERIES = 1_000
#: Timeouts until an event that is the only one in its batch becomes a dead letter. Lock timeouts do not count.
_MAX_TIMEOUTS = 3


def choose(found: Sequence[FanOutCandidate]) -> list[FanOutCandidate]:
    """Return the first candidates whose deliveries fit into one batch.

    A tenant's events stop at an event that needs another batch, because an endpoint gets a job's events in order.
    """
    chosen: list[FanOutCandidate] = []
    unfinished: set[str] = set()
    deliveries = 0
    for candidate in found:
        if candidate.tenant_id in unfinished:
            continue
        deliveries += candidate.deliveries
        if chosen and deliveries > MAX_DELIVERIES:
            break
        chosen.append(candidate)
        if candidate.has_more:
            unfinished.add(candidate.tenant_id)
    return chosen


class FanOut:
    """Fans out events in one process at a time, in order per tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_more = False
        #: Minimum over tenants of the seconds that the first event in the last batch has waited; 0 without events.
        self.delay_seconds = 0.0
        self._batch = HalvedBatch("Fan-out", BATCH)
        #: The last tenant served; empty before the first.
        self._after_tenant = ""
        self._timeouts: Counter[str] = Counter()

    def run_once(self) -> int:
        """Fan out one batch. Returns the number of events; 0 if it failed or another process fans out.

        Raises `DatabaseUnavailable`.
        """
        self.has_more, self.delay_seconds = False, 0.0
        # The lock's separate transaction holds no row and no snapshot while bodies are created.
        with self._database.transaction() as connection:
            return self._run_batch() if fan_out.lock(connection) else 0

    def _run_batch(self) -> int:
        found = self._find()
        chosen = choose(found)
        if not chosen:
            return 0
        self.delay_seconds = _min_delay(found)
        try:
            taken = self._fan_out(chosen)
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and not isinstance(error, StatementTimeout):
                raise
            self.has_more = True
            self._handle_failure(chosen, error)
            return 0
        is_full = len(found) >= self._batch.size
        self.has_more = is_full or len(taken) < len(found) or any(each.has_more for each in taken)
        # Nothing is taken if retention has just deleted all of them.
        if taken:
            self._end_turns(found, taken)
        self._batch.grow()
        return len(taken)

    def _find(self) -> list[FanOutCandidate]:
        with self._database.connect() as connection:
            for after in dict.fromkeys((self._after_tenant, "")):
                self._after_tenant = after
                limit = self._batch.size
                found = fan_out.candidates(
                    connection, after_tenant=after, max_tenants=min(_MAX_TENANTS, limit), limit=limit
                )
                if found:
                    return found
        return []

    def _end_turns(self, found: Sequence[FanOutCandidate], taken: Sequence[FanOutCandidate]) -> None:
        """Start the next batch with the tenants that were not served in this one."""
        tenants, served = sorted({each.tenant_id for each in found}), {each.tenant_id for each in taken}
        last = list(takewhile(served.__contains__, tenants))[-1]
        is_complete = last == tenants[-1] and len(tenants) < min(_MAX_TENANTS, self._batch.size)
        self._after_tenant = "" if is_complete else last

    def _fan_out(self, chosen: Sequence[FanOutCandidate]) -> list[FanOutCandidate]:
        """Fan out the first of the chosen events, as many as fit. Returns these events."""
        with self._database.connect() as connection:
            new = deque(fan_out.payloads(connection, [each.id for each in chosen if not each.has_body]))
        read = {each.uuid for each in new}
        taken = list(takewhile(lambda each: each.has_body or each.id in read, chosen))
        bodies: list[tuple[str, str | None, str | None]] = [(each.id, None, None) for each in taken if each.has_body]
        while new:
            # Convert one payload at a time, so that memory does not hold all payloads and all bodies.
            event = new.popleft()
            try:
                bodies.append((event.uuid, _body(event), None if event.job is None else event.job.traceparent))
            except Exception as error:
                self._add_dead_letter(event.event.tenant_id, event.uuid, error)
        with self._database.transaction() as connection:
            fan_out.create_deliveries(connection, bodies)
        return taken

    def _handle_failure(self, chosen: Sequence[FanOutCandidate], error: Exception) -> None:
        """Halve the next batch, or make the only event of this batch a dead letter."""
        first = chosen[0]
        if self._batch.halve(len(chosen), error):
            return
        if isinstance(error, StatementTimeout):
            self._timeouts[first.id] += not isinstance(error, LockTimeout)
            if self._timeouts[first.id] < _MAX_TIMEOUTS:
                _log.warning("Fan-out: a webhook event of %s timed out, will retry", first.tenant_id)
                self._after_tenant = first.tenant_id
                return
        del self._timeouts[first.id]
        self._add_dead_letter(first.tenant_id, first.id, error)

    def _add_dead_letter(self, tenant_id: str, uuid: str, error: Exception) -> None:
        with self._database.connect() as connection:
            fan_out.add_dead_letter(connection, tenant_id=tenant_id, uuid=uuid, error=error)


def _min_delay(found: Sequence[FanOutCandidate]) -> float:
    """Return the seconds that the first event of the tenant with the smallest lag has waited."""
    # Each tenant's events are in order and reversed here, so the dict ends with the oldest.
    return min({each.tenant_id: each.age_seconds for each in reversed(found)}.values())


def _body(new: NewEvent) -> str | None:
    if new.job is None:
        _log.warning("Webhook event %s dropped: its job is past retention", new.event.id)
        return None
    record = make_record(new.job)
    return make_body(new.event, record | {name: redact(record[name]) for name in ("input", "waiting_for")})
