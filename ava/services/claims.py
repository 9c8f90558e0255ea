"""Claim runs over HTTP. One database poll per process wakes all waiting claims.

A waiting claim costs an entry here and a sleeping thread (under gevent, a greenlet), but no connection and no
statement. An offered job wakes the longest-waiting claim of its worker.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ava.domain.access import tokens
from ava.domain.access.caller import Caller
from ava.domain.access.tokens import TokenKind
from ava.domain.jobs import priority
from ava.domain.jobs.job import Job
from ava.domain.limits.fair_queueing import DEFAULT_WEIGHT, FairQueueClock, WaitingJob
from ava.domain.worker import PullQueue, is_pulled
from ava.errors import DatabaseUnavailable, Forbidden, InvalidFields
from ava.services.cache import Cache
from ava.store.access import api_keys
from ava.store.engine.database import Database
from ava.store.fleet import pull_workers, tenants
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.jobs.feed import published
from ava.store.jobs.transitions import pull
from ava.store.jobs.transitions.pull import Pick, PulledRun

_log = logging.getLogger(__name__)

#: Cache lifetime of workers' owners and tenants' weights.
_TRUST_SECONDS = 2.0
_MAX_REMEMBERED = 10_000
#: Min seconds between two records that a worker's runs are claimed.
_RECORD_SECONDS = 5.0
#: Max pause in seconds of a claim that is repeatedly woken without getting a run.
_MAX_FUTILE_SECONDS = 2.0
#: Seconds between two checks whether a waiting claim's client has disconnected; each wake-up checks, too.
_CLIENT_CHECK_SECONDS = 10.0
#: The poll interval as a fraction of the time since the last offer, and its min as a multiple of the last poll's
#: seconds.
_INTERVAL_SHARE = 0.02
_PAUSE_FACTOR = 10
#: Offered jobs per window that a poll counts.
_MAX_OFFERS = 100

#: The queue that a claim waits for: of one worker and tenant, or with an empty `tenant_id`, of all tenants of a
#: platform worker.
_Wanted = PullQueue


class WaitingClaim:
    def __init__(self, wanted: Collection[_Wanted]) -> None:
        self.wanted = frozenset(wanted)
        self.woken = threading.Event()


class Claims:
    #: Bounds of the poll interval while claims wait. It grows with the time since the last offer: this process's
    #: triggers wake its claims, and only polls find offers of other processes and of the feed.
    min_interval_seconds = 0.02
    max_interval_seconds = 0.1
    #: Min seconds between two polls, whatever is triggered.
    gap_seconds = 0.005

    def __init__(self, database: Database, *, mark: str) -> None:
        self._database = database
        self._mark = mark
        self._lock = threading.Lock()
        #: Waiting claims by queue, longest-waiting first.
        self._waiting: dict[_Wanted, deque[WaitingClaim]] = {}
        self._count = 0
        self._thread: threading.Thread | None = None
        self._poll_now = threading.Event()
        self._closing = threading.Event()
        #: The owners of a tenant's workers.
        self._owners: Cache[tuple[str, frozenset[str]], dict[str, str]] = Cache(_MAX_REMEMBERED)
        #: The tenants and workers whose claims were recorded recently.
        self._recorded: Cache[tuple[str, str], bool] = Cache(_MAX_REMEMBERED)
        self._clocks: dict[tuple[str, int], FairQueueClock] = {}
        self._weights: dict[str, float] = {}
        self._weights_at = float("-inf")

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set()

    def see_offered(self, jobs: Iterable[Job]) -> None:
        """Poll immediately if jobs that this process has stored are offered to claims."""
        if self._count and any(is_pulled(job.queue) and job.published_at is not None for job in jobs):
            self._poll_now.set()

    def claim(
        self, caller: Caller, worker_ids: Sequence[str], *, capacity: int, name: str | None
    ) -> tuple[list[PulledRun], Collection[_Wanted]]:
        """Claim up to `capacity` runs. Return them, and the queues that a waiting claim watches.

        Raise `Forbidden` if the caller may not claim runs of a worker, `InvalidFields`.
        """
        wanted = self._wanted(caller, worker_ids)
        self._record(PLATFORM if caller.is_of_platform else caller.tenant_id, worker_ids)
        with self._database.connect() as connection:
            picks = self._picks(wanted, capacity)
            if not picks:
                return [], wanted
            runs = pull.claim(
                connection,
                _merged(picks),
                [tokens.make(TokenKind.RUN, self._mark) for _ in range(capacity)],
                claim_id=str(uuid.uuid4()),
                key_id=None if caller.key_id is None else api_keys.key_uuid(caller.key_id),
                name=name,
            )
        return _in_order(runs, picks), wanted

    def _wanted(self, caller: Caller, worker_ids: Sequence[str]) -> list[_Wanted]:
        refused = [id_ for id_ in worker_ids if id_ not in caller.worker_ids]
        if refused:
            raise Forbidden(f"This key may not claim runs of {refused[0]}.")
        owners = self._owners_of(caller.tenant_id, frozenset(worker_ids))
        gone = [id_ for id_ in worker_ids if id_ not in owners or (caller.is_of_platform and owners[id_] != PLATFORM)]
        if gone:
            reason = f"{gone[0]} is no longer a pull worker; it was deleted."
            raise InvalidFields(f"workers: {reason}", {"workers": [reason]})
        tenant_id = "" if caller.is_of_platform else caller.tenant_id
        return [PullQueue(owner=owners[id_], worker_id=id_, tenant_id=tenant_id) for id_ in worker_ids]

    def _owners_of(self, tenant_id: str, worker_ids: frozenset[str]) -> dict[str, str]:
        now = time.monotonic()
        if (found := self._owners.get((tenant_id, worker_ids), now)) is None:
            with self._database.connect() as connection:
                found = pull_workers.owners(connection, tenant_id=tenant_id, worker_ids=worker_ids)
            self._owners.put((tenant_id, worker_ids), found, until=now + _TRUST_SECONDS)
        return found

    def _record(self, tenant_id: str, worker_ids: Sequence[str]) -> None:
        """Record that a worker's runs are claimed, unless that was recorded recently."""
        now = time.monotonic()
        if due := [id_ for id_ in worker_ids if not self._recorded.get((tenant_id, id_), now)]:
            with self._database.connect() as connection:
                pull_workers.record(connection, tenant_id=tenant_id, worker_ids=due)
            for id_ in due:
                self._recorded.put((tenant_id, id_), True, until=now + _RECORD_SECONDS)

    # Which jobs -----------------------------------------------------------------------------------------------------

    def _picks(self, wanted: Collection[_Wanted], capacity: int) -> list[Pick]:
        if not any(each.tenant_id == "" for each in wanted):
            # Queues with equal priority have no order: serve each first in turn.
            queues = random.sample([each.name for each in wanted], len(wanted))
            return [Pick(queue=queue, priority=p, count=capacity) for p in _PRIORITIES for queue in queues]
        with self._database.connect() as connection:
            found = published.read_all_offers(connection, count_up_to=capacity)
            if time.monotonic() - self._weights_at > _TRUST_SECONDS:
                self._weights = dict(tenants.fair_queue_rules(connection).weights)
                self._weights_at = time.monotonic()
        return self._in_turns([pick for pick in found if _of_platform(pick.queue) in wanted], capacity)

    def _in_turns(self, offered: Sequence[Pick], capacity: int) -> list[Pick]:
        """Return picks of a platform worker by priority, with fair queueing of the tenants in each priority."""
        picks: list[Pick] = []
        for number in _PRIORITIES:
            waiting: dict[str, list[WaitingJob]] = {}
            by_tenant: dict[str, deque[str]] = {}
            for pick in offered:
                if pick.priority == number:
                    queue = PullQueue.parse(pick.queue)
                    job = WaitingJob(id="", tenant_id=queue.tenant_id, worker_id=queue.worker_id)
                    waiting.setdefault(queue.tenant_id, []).extend([job] * pick.count)
                    by_tenant.setdefault(queue.tenant_id, deque()).extend([pick.queue] * pick.count)
            if not waiting:
                continue
            clock = self._clocks.setdefault((next(iter(waiting.values()))[0].worker_id, number), FairQueueClock())
            dealt = clock.deal(waiting, capacity - len(picks), cost=lambda _: 1.0, weight=self._weight)
            picks += [Pick(queue=by_tenant[job.tenant_id].popleft(), priority=number, count=1) for job in dealt]
            if len(picks) >= capacity:
                break
        return picks

    def _weight(self, tenant_id: str) -> float:
        return self._weights.get(tenant_id, DEFAULT_WEIGHT)

    # Waiting --------------------------------------------------------------------------------------------------------

    @contextmanager
    def waiting(self, wanted: Collection[_Wanted], *, after_seconds: float = 0.0) -> Iterator[WaitingClaim]:
        """Register a waiting claim for the block, after `after_seconds`; wait for offers with `wait`."""
        if after_seconds:
            self._closing.wait(after_seconds)
        claim = WaitingClaim(wanted)
        self._add(claim)
        try:
            yield claim
        finally:
            self._remove(claim)

    @staticmethod
    def pause_seconds(futile: int) -> float:
        """Return the pause before a claim that was woken `futile` times without a run waits again.

        It may be unable to claim the offers, because its key already has the maximum of runs.
        """
        return min(_MAX_FUTILE_SECONDS, 0.05 * futile**2)

    def wait(self, claim: WaitingClaim, seconds: float, is_disconnected: Callable[[], bool]) -> bool:
        """Wait until a job is offered. Return False on timeout, disconnect of the client, or shutdown."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            is_woken = claim.woken.wait(min(left, _CLIENT_CHECK_SECONDS))
            if self.is_closing or is_disconnected():
                return False
            if is_woken:
                return True
        return False

    def close(self) -> None:
        self._closing.set()
        self._poll_now.set()
        with self._lock:
            claims = {claim for queue in self._waiting.values() for claim in queue}
        for claim in claims:
            claim.woken.set()

    def _add(self, claim: WaitingClaim) -> None:
        with self._lock:
            self._count += 1
            for each in claim.wanted:
                self._waiting.setdefault(each, deque()).append(claim)
            # Poll for offers since the claim's own attempt.
            self._poll_now.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
                self._thread.start()

    def _remove(self, claim: WaitingClaim) -> None:
        with self._lock:
            self._count -= 1
            for each in claim.wanted:
                queue = self._waiting[each]
                queue.remove(claim)
                if not queue:
                    del self._waiting[each]

    def _run(self) -> None:
        took, offered_at = 0.0, time.monotonic()
        while not self._closing.wait(self.gap_seconds):
            self._poll_now.wait(self._interval(took, time.monotonic() - offered_at))
            self._poll_now.clear()
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                wanted = list(self._waiting)
            began = time.monotonic()
            try:
                if found := self._offered(wanted):
                    self._wake(found)
                    offered_at = began
            except DatabaseUnavailable:
                # The claims keep waiting; each ends with its own timeout.
                self._closing.wait(1.0)
            except Exception:
                _log.exception("Claims: poll failed, will retry")
                self._closing.wait(1.0)
            took = time.monotonic() - began

    def _interval(self, took: float, idle: float) -> float:
        """Return the seconds until the next poll; `took`: seconds of the last poll, `idle`: seconds since an offer."""
        seconds = min(max(idle * _INTERVAL_SHARE, self.min_interval_seconds), self.max_interval_seconds)
        return max(seconds, took * _PAUSE_FACTOR)

    def _offered(self, wanted: Collection[_Wanted]) -> list[Pick]:
        with self._database.connect(of_process=True) as connection:
            if any(each.tenant_id == "" for each in wanted):
                return published.read_all_offers(connection, count_up_to=_MAX_OFFERS)
            return published.read_offers(connection, [each.name for each in wanted], count_up_to=_MAX_OFFERS)

    def _wake(self, found: Sequence[Pick]) -> None:
        """Wake as many claims per window as it offers jobs."""
        with self._lock:
            for pick in found:
                left = pick.count
                for wanted in (PullQueue.parse(pick.queue), _of_platform(pick.queue)):
                    for claim in self._waiting.get(wanted, ()):
                        if left and not claim.woken.is_set():
                            claim.woken.set()
                            left -= 1


def _merged(picks: Sequence[Pick]) -> list[Pick]:
    """Merge the picks of each window, because a statement would find the window's first job twice."""
    counts: dict[tuple[str, int], int] = {}
    for pick in picks:
        window = (pick.queue, pick.priority)
        counts[window] = counts.get(window, 0) + pick.count
    return [Pick(queue=queue, priority=number, count=count) for (queue, number), count in counts.items()]


def _in_order(runs: Sequence[PulledRun], picks: Sequence[Pick]) -> list[PulledRun]:
    """Return claimed runs in the order of the picks, and within a window in the order of its offers."""
    by_window: dict[tuple[str, int], deque[PulledRun]] = {}
    for run in runs:
        by_window.setdefault((run.job.queue, run.job.priority), deque()).append(run)
    ordered: list[PulledRun] = []
    for pick in picks:
        found = by_window.get((pick.queue, pick.priority), deque())
        ordered += [found.popleft() for _ in range(min(pick.count, len(found)))]
    return ordered


_PRIORITIES = range(priority.FIRST, priority.LAST + 1)


def _of_platform(queue: str) -> _Wanted:
    """Return the queue that a claim for all tenants waits for, given a tenant's queue."""
    parsed = PullQueue.parse(queue)
    return PullQueue(owner=parsed.owner, worker_id=parsed.worker_id, tenant_id="")
