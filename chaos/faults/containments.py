"""Containments of tenants, keys and trees under load and kills. The handlers' own records decide."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
import requests

from ava.domain import ids
from chaos import effects
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.load import WORKER, Accepted
from chaos.mixed.kills import Kills
from chaos.pulled_worker import WORKER as PULLED
from chaos.pulled_worker import PulledWorker, make_worker
from harness.polling import wait_until
from harness.system import HEADERS

#: Environment variables: the number of containments of each kind of scope, and the seed.
ROUNDS, SEED = "CHAOS_CONTAINMENTS", "CHAOS_SEED"
_ROUNDS = 3
_TENANT = "ten_contained"
_SLOT = "wkr_chaos_slot"
_PATH = "/v1/ava/containments"
_LONGEST_SECONDS = 90.0
_FROZEN_SECONDS = 3.0
#: Max violations in a row.
_MAX_SHOWN = 10
_HELD = "SELECT id::text FROM jobs WHERE id = ANY(%s::uuid[]) AND waits_for = 'contained'"
_UNFINISHED = "SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND completed_at IS NULL"
#: The children of a tree's root.
_CHILDREN = 45
_OF_TREE = "SELECT id::text FROM jobs WHERE %s::uuid IN (id, tree_id)"
#: Jobs that a containment has changed although none covers them.
_TOUCHED = """SELECT id::text FROM jobs
    WHERE id <> ALL(%s::uuid[]) AND (waits_for = 'contained' OR stop_status IS NOT NULL)"""


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """The scope of one containment, and the requests that belong to it."""

    kind: str
    body: Mapping[str, Any]
    #: The tenant's headers, and the headers of the requests that create its jobs.
    headers: Mapping[str, str]
    creator: Mapping[str, str]


@dataclass(kw_only=True)
class _Containments:
    """The containments of one cluster, one after another."""

    cluster: Cluster
    seed: int
    broken: list[str] = field(default_factory=list)
    #: All jobs of scopes, and the numbers of held and stopped jobs.
    jobs: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: Max seconds from the 201 until a containment was effective, and until it was complete.
    effective: float = 0.0
    complete: float = 0.0
    _position: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._threads = ThreadPoolExecutor(1)
        more = {"pulled worker": (self._kill_pulled, 5), "child frozen": (self._freeze_child, 20)}
        self.kills = Kills(self.cluster, self.seed, more)
        self.cluster.system.start_sender()
        tokens = [make_worker(self.cluster.system, each) for each in (_TENANT, HEADERS["x-tenant-id"])]
        self._pulled = [self._start_pulled(token) for token in tokens]
        key = self._insist("POST", "/v1/ava/keys", {"name": "agent", "role": "tenant-system-admin"})
        of_tenant, of_key = {**HEADERS, "x-tenant-id": _TENANT}, {"Authorization": f"Bearer {key['token']}"}
        self._scopes: dict[str, Callable[[], _Scope]] = {
            "tenant": lambda: _Scope(kind="tenant", body={"tenant": True}, headers=of_tenant, creator=of_tenant),
            "key": lambda: _Scope(kind="key", body={"key_id": key["id"]}, headers=HEADERS, creator=of_key),
            "tree": self._make_tree,
        }

    def run(self, rounds: int) -> None:
        for number in range(rounds):
            for make in self._scopes.values():
                self._contain(make(), running="cancel" if number % 2 == 0 else "let_end")

    def stop(self) -> None:
        self._threads.shutdown()
        for worker in self._pulled:
            worker.stop()
        self.counts["refused"] += sum(len(worker.broken) for worker in self._pulled)

    def _make_tree(self) -> _Scope:
        workers = self._random.sample([WORKER, _SLOT, PULLED] * (_CHILDREN // 3), _CHILDREN)
        given = {"worker_id": "wkr_chaos_tree", "priority": 1, "input": {"workers": workers, "seconds": 1}}
        (root,) = self.cluster.load.trigger_jobs([given])
        return _Scope(kind="tree", body={"tree_id": root}, headers=HEADERS, creator=HEADERS)

    def _trigger(self, scope: _Scope) -> list[str]:
        jobs = [
            {"worker_id": worker_id, "priority": 1, "input": {"seconds": self._random.choice((0.02, 0.1, 0.5))}}
            for worker_id, count in ((WORKER, 40), (_SLOT, 20), (PULLED, 10))
            for _ in range(count)
        ]
        return self.cluster.load.trigger_jobs(jobs, scope.creator)

    # One containment -----------------------------------------------------------------------------------------------

    def _contain(self, scope: _Scope, *, running: str) -> None:
        root = scope.body.get("tree_id")
        jobs = [] if root else self._trigger(scope)
        body = {"scope": scope.body, "reason": "chaos", "running": running, "triggers": "hold"}
        # In another thread: the main one kills, because processes end with their thread.
        creating = self._threads.submit(self._create, body, scope, pause=self._random.uniform(0.2, 1))
        time.sleep(self._random.uniform(0.2, 2))
        self.kills.kill()
        made, made_at = creating.result()
        if scope.kind == "tenant":
            jobs += self._trigger(scope)
        path = f"{_PATH}/{made['id']}"
        shown = self._await(f"{path}?wait=20", scope, lambda found: found["complete_at"])
        jobs = self._of_tree(root) if root else jobs
        self.jobs += jobs
        time.sleep(self._random.uniform(0, 1))
        self._check_others()
        held = {ids.encode("job", uuid) for (uuid,) in self._query(_HELD, self._uuids(jobs))}
        lifted_at = time.time()
        lift = self._insist("POST", f"{path}/lift", {"held": "release"}, scope.headers)
        self._await(f"/v1/ava/operations/{lift['id']}?wait=20", scope, lambda found: found["state"] == "done")
        self._await_end(jobs)
        if root:
            self._accept_children(root, jobs)
        effective_at, complete_at = (
            datetime.fromisoformat(shown[name]).timestamp() for name in ("effective_at", "complete_at")
        )
        self.effective = max(self.effective, effective_at - made_at)
        self.complete = max(self.complete, complete_at - made_at)
        self.counts += Counter({scope.kind: 1, "held": len(held), "stopped": shown["stopped_count"]})
        found = self._judge(set(jobs), held, effective_at=effective_at, complete_at=complete_at, lifted_at=lifted_at)
        self.broken += [f"{made['id']} ({scope.kind}, {running}): {each}" for each in found]

    def _accept_children(self, root: str, jobs: Collection[str]) -> None:
        """A killed root runs again after the lift and creates its remaining children, each of them once."""
        later = sorted(set(self._of_tree(root)) - set(jobs))
        self._await_end(later)
        self.jobs += later
        self.cluster.load.accepted += [Accepted(id=each, at=0) for each in (*jobs, *later) if each != root]
        if (count := len(jobs) + len(later) - 1) > _CHILDREN:
            self.broken.append(f"{root} has {count} children instead of {_CHILDREN}")

    def _of_tree(self, root: str) -> list[str]:
        return [ids.encode("job", uuid) for (uuid,) in self._query(_OF_TREE, str(ids.decode("job", root)))]

    def _await(self, path: str, scope: _Scope, condition: Callable[[Any], Any]) -> Any:
        """Read a record until a condition holds, and return it."""
        return wait_until(
            lambda: condition(found := self._insist("GET", path, None, scope.headers)) and found,
            seconds=_LONGEST_SECONDS,
            what=path,
        )

    def _await_end(self, jobs: Collection[str]) -> None:
        wait_until(
            lambda: self._query(_UNFINISHED, self._uuids(jobs)) == [(0,)],
            seconds=_LONGEST_SECONDS,
            what="the jobs of the scope have ended",
        )

    def _create(self, body: Mapping[str, Any], scope: _Scope, *, pause: float) -> tuple[Any, float]:
        """Create a containment. Returns it, and the time of the response."""
        time.sleep(pause)
        return self._insist("POST", _PATH, body, scope.headers), time.time()

    def _judge(
        self, jobs: Collection[str], held: Collection[str], *, effective_at: float, complete_at: float, lifted_at: float
    ) -> list[str]:
        """Compare the records of the scope's handlers with the two times. Returns the violations."""
        marks, self._position = effects.read_from(self.cluster.effects_path, self._position)
        # PostgreSQL and all handlers have the clock of this machine.
        offset = time.time() - time.monotonic()
        starts: Counter[str] = Counter()
        found = []
        for mark in marks:
            if mark.job_id not in jobs:
                continue
            at, is_begin = mark.at + offset, mark.kind == "begin"
            limit, name = (effective_at, "effective_at") if is_begin else (complete_at, "complete_at")
            if at >= lifted_at:
                starts[mark.job_id] += is_begin
            elif at > limit:
                found.append(f"{mark.job_id} in {mark.run}: {mark.kind} {1000 * (at - limit):.1f} ms after {name}")
        return found + [f"{job_id} was held and began {starts[job_id]} times" for job_id in held if starts[job_id] != 1]

    def _check_others(self) -> None:
        """Check that no job outside of the scopes is held or stopped."""
        touched = self._query(_TOUCHED, self._uuids(self.jobs))
        self.broken += [f"job {uuid} outside of the scope was touched" for (uuid,) in touched]

    # Breaking ------------------------------------------------------------------------------------------------------

    def _freeze_child(self) -> None:
        pid = self._random.choice(self.kills.pool_pids())
        with suppress(ProcessLookupError):
            self.cluster.freeze([pid])
            time.sleep(_FROZEN_SECONDS)
            self.cluster.thaw()

    def _start_pulled(self, token: str) -> PulledWorker:
        path = self.cluster.effects_path
        worker = PulledWorker(system=self.cluster.system, effects=path, token=token, seconds=0.3, capacity=5)
        worker.start()
        return worker

    def _kill_pulled(self) -> None:
        dead = self._pulled.pop(0)
        dead.die()
        # After a stop, or while the API is down for longer than a lease, an end is refused.
        self.counts["refused"] += len(dead.broken)
        self._pulled.append(self._start_pulled(dead.token))

    # Requests ------------------------------------------------------------------------------------------------------

    def _insist(self, method: str, path: str, body: Any, headers: Mapping[str, str] = HEADERS) -> Any:
        """Repeat a request while the API or the database is killed."""
        sent = {**headers, "Idempotency-Key": os.urandom(8).hex()}

        def attempt() -> tuple[requests.Response, ...]:
            with suppress(requests.RequestException):
                url = f"{self.cluster.system.url}{path}"
                response = requests.request(method, url, json=body, headers=sent, timeout=40)
                if response.status_code < 500:
                    return (response,)
            return ()

        (response,) = wait_until(attempt, seconds=_LONGEST_SECONDS, what=f"{method} {path} has a response")
        if path.endswith("/lift") and response.status_code == 409:
            # The response of the first call was lost.
            return self._insist("GET", "/v1/ava/operations?per_page=1", None, headers)[0]
        assert response.ok, response.text
        return response.json()["data"]

    def _query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        def attempt() -> tuple[list[tuple[Any, ...]], ...]:
            with suppress(psycopg2.Error):
                return (self.cluster.system.query(statement, *parameters),)
            return ()

        (rows,) = wait_until(attempt, what="the database responds")
        return rows

    @staticmethod
    def _uuids(jobs: Collection[str]) -> list[str]:
        return [str(ids.decode("job", each)) for each in jobs]


def _contain_amid_kills(cluster: Cluster) -> Injury:
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    print(f"{cluster.broker_name}: containments of seed {seed}", flush=True)
    containments = _Containments(cluster=cluster, seed=seed)
    since = time.monotonic()
    try:
        containments.run(int(os.environ.get(ROUNDS) or _ROUNDS))
    finally:
        containments.stop()
    found = containments.broken
    return Injury(
        since=since,
        recovered_at=since + containments.complete,
        judged=containments.jobs,
        broken=[*found[:_MAX_SHOWN], *([f"{len(found)} violations, seed {seed}"] if found else [])],
        measured=[
            ", ".join(f"{count} {name}" for name, count in sorted(containments.counts.items())),
            f"effective after {containments.effective:.1f} s at most, complete after {containments.complete:.1f} s",
            ", ".join(f"{count} × {name}" for name, count in containments.kills.done.most_common()),
        ],
    )


FAULTS = (
    Fault(
        name="containments of a tenant, a key and a tree amid kill -9 of everything",
        inject=_contain_amid_kills,
        promised_seconds=45,
        plan=Plan(
            environ={"AVA_HANDLERS": "chaos.handlers,chaos.slot_handlers", "AVA_SLOTS": "20"}, nodes=2, processes=3
        ),
        runs_alone=True,
    ),
)
