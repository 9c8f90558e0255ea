"""Claims of runs over HTTP: all claims of a process that wait are woken by one poll of the database.

A claim that waits costs an entry here and a sleeping thread (under gevent, a greenlet), but no connection and no
statement. A job that is offered wakes one claim of its worker, the one that has waited longest.
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
from ava.domain.jobs.pull import PullQueue, is_pulled
from ava.domain.limits.fair_queue import DEFAULT_WEIGHT, TurnClock, WaitingJob
from ava.errors import DatabaseUnavailable, Forbidden, InvalidFields
from ava.store.access import api_keys
from ava.store.engine.database import Database
from ava.store.fleet import pull_workers, tenants, worker_claims
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.jobs.feed import published
from ava.store.jobs.moves import pull
from ava.store.jobs.moves.pull import Pick, PulledRun

_log = logging.getLogger(__name__)

#: Seconds for which a process trusts what it has read of the owners of workers, and of weights.
_TRUST_SECONDS = 2.0
_MAX_REMEMBERED = 10_000
#: Seconds between two notes that a worker's runs are claimed.
_NOTE_SECONDS = 5.0
#: The longest pause of a claim that is woken in vain again and again, in seconds.
_MAX_FUTILE_SECONDS = 2.0
#: Seconds between two checks whether the client of a claim that waits is gone; one that is woken checks it as well.
_CLIENT_CHECK_SECONDS = 10.0
#: The interval of polls as a share of the time since jobs were last offered, and as a multiple of the last poll's.
_INTERVAL_SHARE = 0.02
_PAUSE_FACTOR = 10
#: Offered jobs of one window that a poll counts.
_MAX_OFFERS = 100

#: What a claim asks for: the queue of one worker and tenant, or all queues of a worker of the platform (`tenant_id`
#: is empty).
_Wanted = PullQueue


class WaitingClaim:
    """A claim that waits for offered jobs."""

    def __init__(self, wanted: Collection[_Wanted]) -> None:
        self.wanted = frozenset(wanted)
        self.woken = threading.Event()


class Claims:
    """All claims of one process, and the thread that polls for them."""

    #: Seconds between two polls while claims wait. They grow with the time since jobs were last offered: a claim of
    #: this process is woken by its own triggers, but learns of those of other processes and of the feed by polls alone.
    min_interval_seconds = 0.02
    max_interval_seconds = 0.1
    #: The least between two polls, whatever is triggered.
    gap_seconds = 0.005

    def __init__(self, database: Database, *, mark: str) -> None:
        """`mark` is in the tokens of runs."""
        self._database = database
        self._mark = mark
        self._lock = threading.Lock()
        #: The claims that wait, by what they want, those that have waited longest first.
        self._waiting: dict[_Wanted, deque[WaitingClaim]] = {}
        self._count = 0
        self._thread: threading.Thread | None = None
        self._poll_now = threading.Event()
        self._closing = threading.Event()
        #: The owners of the workers of a tenant, and until when they are trusted.
        self._owners: dict[tuple[str, frozenset[str]], tuple[float, dict[str, str]]] = {}
        self._noted: dict[tuple[str, str], float] = {}
        self._clocks: dict[tuple[str, int], TurnClock] = {}
        self._weights: dict[str, float] = {}
        self._weights_at = float("-inf")

    @property
    def is_closing(self) -> bool:
        """True if the process is stopping, so that claims should stop waiting."""
        return self._closing.is_set()

    def see_offered(self, jobs: Iterable[Job]) -> None:
        """Poll at once if some of these jobs, which this process has stored, are offered to claims."""
        if self._count and any(is_pulled(job.queue) and job.published_at is not None for job in jobs):
            self._poll_now.set()

    def claim(
        self, caller: Caller, worker_ids: Sequence[str], *, capacity: int, name: str | None
    ) -> tuple[list[PulledRun], Collection[_Wanted]]:
        """Claim up to `capacity` runs of workers. Returns them, and what a claim that waits for more asks for.

        Raises `Forbidden` if the caller may not claim runs of one of them, `InvalidFields`, `DatabaseUnavailable`.
        """
        wanted = self._wanted(caller, worker_ids)
        self._note(PLATFORM if caller.is_of_platform else caller.tenant_id, worker_ids)
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
            reason = f"{gone[0]} is no worker with the runtime pull any more."
            raise InvalidFields(f"workers: {reason}", {"workers": [reason]})
        tenant_id = "" if caller.is_of_platform else caller.tenant_id
        return [PullQueue(owner=owners[id_], worker_id=id_, tenant_id=tenant_id) for id_ in worker_ids]

    def _owners_of(self, tenant_id: str, worker_ids: frozenset[str]) -> dict[str, str]:
        now = time.monotonic()
        until, found = self._owners.get((tenant_id, worker_ids), (now, {}))
        if until <= now:
            with self._database.connect() as connection:
                found = pull_workers.owners(connection, tenant_id=tenant_id, worker_ids=worker_ids)
            if len(self._owners) >= _MAX_REMEMBERED:
                self._owners.clear()
            self._owners[tenant_id, worker_ids] = now + _TRUST_SECONDS, found
        return found

    def _note(self, tenant_id: str, worker_ids: Sequence[str]) -> None:
        """Store that runs of workers are claimed, unless that was stored a moment ago."""
        now = time.monotonic()
        due = [id_ for id_ in worker_ids if now - self._noted.get((tenant_id, id_), float("-inf")) > _NOTE_SECONDS]
        if due:
            with self._database.connect() as connection:
                worker_claims.note(connection, tenant_id=tenant_id, worker_ids=due)
            if len(self._noted) >= _MAX_REMEMBERED:
                self._noted.clear()
            self._noted.update({(tenant_id, id_): now for id_ in due})

    # Which jobs -----------------------------------------------------------------------------------------------------

    def _picks(self, wanted: Collection[_Wanted], capacity: int) -> list[Pick]:
        """Returns the windows from which a claim takes jobs, in its order."""
        if not any(each.tenant_id == "" for each in wanted):
            # Workers of one priority have no order among each other, so each comes first in its turn.
            queues = random.sample([each.name for each in wanted], len(wanted))
            return [Pick(queue=queue, priority=p, count=capacity) for p in _PRIORITIES for queue in queues]
        with self._database.connect() as connection:
            found = published.read_all_offers(connection, count_up_to=capacity)
            if time.monotonic() - self._weights_at > _TRUST_SECONDS:
                self._weights = dict(tenants.turn_rules(connection).weights)
                self._weights_at = time.monotonic()
        return self._in_turns([pick for pick in found if _of_platform(pick.queue) in wanted], capacity)

    def _in_turns(self, offered: Sequence[Pick], capacity: int) -> list[Pick]:
        """Returns picks of a worker of the platform by priority, and the tenants of a priority in their turns."""
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
            clock = self._clocks.setdefault((next(iter(waiting.values()))[0].worker_id, number), TurnClock())
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
        """Wait for offered jobs of workers, in the block, with `wait`. It begins after some seconds."""
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
        """Returns the seconds before a claim waits again that was woken in vain so many times.

        What is offered may be out of its reach, because its key holds as many runs as it may.
        """
        return min(_MAX_FUTILE_SECONDS, 0.05 * futile**2)

    def wait(self, claim: WaitingClaim, seconds: float, is_gone: Callable[[], bool]) -> bool:
        """Wait until a job is offered for a claim. Returns False if time is up, the client is gone, or the process
        stops.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            is_woken = claim.woken.wait(min(left, _CLIENT_CHECK_SECONDS))
            if self.is_closing or is_gone():
                return False
            if is_woken:
                return True
        return False

    def close(self) -> None:
        """End every wait."""
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
            # What was offered since the claim has looked.
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
        """Poll again and again, as long as claims wait."""
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
                # The claims go on waiting; each ends by itself when its time is up.
                self._closing.wait(1.0)
            except Exception:
                _log.exception("Claims: poll failed, will retry")
                self._closing.wait(1.0)
            took = time.monotonic() - began

    def _interval(self, took: float, idle: float) -> float:
        """Returns the seconds until the next poll: the last one took so long, and no job was offered for `idle` s."""
        seconds = min(max(idle * _INTERVAL_SHARE, self.min_interval_seconds), self.max_interval_seconds)
        return max(seconds, took * _PAUSE_FACTOR)

    def _offered(self, wanted: Collection[_Wanted]) -> list[Pick]:
        with self._database.connect(of_process=True) as connection:
            if any(each.tenant_id == "" for each in wanted):
                return published.read_all_offers(connection, count_up_to=_MAX_OFFERS)
            return published.read_offers(connection, [each.name for each in wanted], count_up_to=_MAX_OFFERS)

    def _wake(self, found: Sequence[Pick]) -> None:
        """Wake as many claims of each window as it has jobs."""
        with self._lock:
            for pick in found:
                left = pick.count
                for wanted in (PullQueue.parse(pick.queue), _of_platform(pick.queue)):
                    for claim in self._waiting.get(wanted, ()):
                        if left and not claim.woken.is_set():
                            claim.woken.set()
                            left -= 1


def _merged(picks: Sequence[Pick]) -> list[Pick]:
    """Returns the picks, those of one window as one, because a statement would find its first job twice."""
    counts: dict[tuple[str, int], int] = {}
    for pick in picks:
        window = (pick.queue, pick.priority)
        counts[window] = counts.get(window, 0) + pick.count
    return [Pick(queue=queue, priority=number, count=count) for (queue, number), count in counts.items()]


def _in_order(runs: Sequence[PulledRun], picks: Sequence[Pick]) -> list[PulledRun]:
    """Returns claimed runs in the order of the picks, each window's in the order of its offers."""
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
    """Returns what a claim for all tenants asks for, to which a queue belongs."""
    parsed = PullQueue.parse(queue)
    return PullQueue(owner=parsed.owner, worker_id=parsed.worker_id, tenant_id="")
