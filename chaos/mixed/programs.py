"""Random programs and graphs of the mixed load. A seed and a number determine each of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from chaos.pulled_worker import WORKER as PULLED

MIXED, SLOT, LIMITED = "wkr_chaos_mixed", "wkr_chaos_mixed_slot", "wkr_chaos_mixed_limited"
WORKERS = (MIXED, SLOT, LIMITED, PULLED)
#: Clients send an event within this many seconds before or after the timeout of its wait, so both branches occur.
_AROUND_SECONDS = 1.5
_DIES, _CANCELS, _HAS_DEADLINE, _FAILS = 0.06, 0.12, 0.06, 0.12
#: The deepest child, and the acts of a program.
_MAX_DEPTH, _MAX_ACTS = 2, 5

Act = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request that triggers jobs, and the later requests of its client."""

    #: The body of one job, or the entries of a bulk.
    job: Mapping[str, Any] | None = None
    entries: Sequence[Mapping[str, Any]] = ()
    #: The events of the job's waits: key, and seconds until the client sends it.
    events: Mapping[str, float]
    #: Seconds until the client cancels the job, or each job of the graph; None: never.
    cancel_after: float | None = None


class Programs:
    """Makes the plan of each number."""

    def __init__(self, seed: int, *, has_deaths: bool) -> None:
        """`has_deaths`: some handlers kill their own process."""
        self._seed = seed
        self._has_deaths = has_deaths

    def plan(self, number: int) -> Plan:
        """Return the plan of a number, which is the same in every run of this seed."""
        maker = _PlanMaker(Random(f"{self._seed}/{number}"), number, has_deaths=self._has_deaths)
        return maker.make()


class _PlanMaker:
    def __init__(self, random: Random, number: int, *, has_deaths: bool) -> None:
        self._random = random
        self._number = number
        self._has_deaths = has_deaths
        self._names = itertools.count(1)
        self._events: dict[str, float] = {}

    def make(self) -> Plan:
        choices: dict[Callable[[], Plan], int] = {
            self._make_job: 60, self._make_graph: 20, self._make_pulled: 8, self._make_limited: 12,
        }  # fmt: skip
        (make,) = self._random.choices(list(choices), list(choices.values()))
        return make()

    def _is(self, share: float) -> bool:
        return self._random.random() < share

    def _make_job(self) -> Plan:
        (worker,) = self._random.choices((MIXED, SLOT, LIMITED), (60, 25, 15))
        job: dict[str, Any] = {"worker_id": worker, "priority": self._random.randint(1, 10)}
        program = self._program(worker, depth=0)
        if self._is(_FAILS):
            # In the first attempt only, or in both.
            program.insert(self._random.randint(0, len(program)), {"do": "fail", "attempts": 2 if self._is(0.3) else 1})
        if self._is(_HAS_DEADLINE):
            job["deadline_seconds"] = self._random.randint(2, 5)
        cancel = self._random.uniform(0, 5) if self._is(_CANCELS) else None
        plan = {**job, "input": {"program": program}}
        return Plan(job=plan, events=self._events, cancel_after=cancel)

    def _make_graph(self) -> Plan:
        """Return a graph with `$output`, and with each of the three conditions."""
        fails = self._is(0.25)
        first = [self._work(), *([{"do": "fail", "attempts": 2}] if fails else [])]
        second = self._program(SLOT, depth=_MAX_DEPTH)
        given = {"given": {"$output": "first.run"}, "program": [self._step()]}
        entries = [
            {"worker_id": MIXED, "name": "first", "input": {"program": first}},
            {"worker_id": SLOT, "name": "second", "input": {"program": second}},
            {"worker_id": MIXED, "name": "then", "after": ["first", "second"], "input": given},
            {"worker_id": MIXED, "name": "undo", "after": ["first"], "when": "failed", "input": {"program": []}},
            {"worker_id": SLOT, "name": "always", "after": ["then", "undo"], "when": "ended", "input": {"program": []}},
        ]
        cancel = self._random.uniform(0, 3) if self._is(_CANCELS) else None
        return Plan(entries=entries, events=self._events, cancel_after=cancel)

    def _make_pulled(self) -> Plan:
        return Plan(job={"worker_id": PULLED, "input": {}}, events={})

    def _make_limited(self) -> Plan:
        """Return more jobs than the limit admits."""
        entries = [{"worker_id": LIMITED, "input": {"program": [self._work()]}} for _ in range(5)]
        return Plan(entries=entries, events={})

    # Programs ------------------------------------------------------------------------------------------------------

    def _program(self, worker: str, *, depth: int) -> list[Act]:
        made = [act for _ in range(self._random.randint(1, _MAX_ACTS)) for act in self._acts(worker, depth=depth)]
        return [*made, self._step()] if self._is(0.5) else made

    def _acts(self, worker: str, *, depth: int, in_branch: bool = False) -> list[Act]:
        """Return an act, or several that belong together."""
        choices: dict[Callable[[], list[Act]], int] = {
            lambda: [self._step()]: 30, lambda: [self._work()]: 10, lambda: [self._sleep()]: 12,
        }  # fmt: skip
        if depth < _MAX_DEPTH:
            choices[lambda: self._children(depth)] = 20
            choices[lambda: [self._map()]] = 7
        if depth == 0:
            # A second attempt may create a child again, and no event would come for the new child.
            choices[lambda: [self._event()]] = 20
        if worker == SLOT and depth == 0 and not in_branch:
            choices[lambda: [self._gather()]] = 15
        (make,) = self._random.choices(list(choices), list(choices.values()))
        return make()

    def _name(self, kind: str) -> str:
        return f"{kind} {next(self._names)}"

    def _dies(self) -> str | None:
        return self._random.choice(("within", "after")) if self._has_deaths and self._is(_DIES) else None

    def _step(self) -> Act:
        once = "at_most" if self._is(0.15) else "at_least"
        return {"do": "step", "name": self._name("step"), "once": once, "dies": self._dies()}

    def _work(self) -> Act:
        return {"do": "work", "seconds": round(self._random.uniform(0.02, 0.4), 2)}

    def _sleep(self) -> Act:
        return {"do": "sleep", "name": self._name("sleep"), "seconds": round(self._random.uniform(1, 2.5), 1)}

    def _event(self) -> Act:
        name = self._name("event")
        timeout = round(self._random.uniform(1, 3), 1)
        key = f"{self._number}/{name}"
        if self._is(0.8):
            self._events[key] = max(0.0, timeout + self._random.uniform(-_AROUND_SECONDS, _AROUND_SECONDS))
        return {
            "do": "event", "name": name, "key": key, "timeout": timeout,
            "is_refused": self._is(0.3), "dies": self._dies(),
        }  # fmt: skip

    def _children(self, depth: int) -> list[Act]:
        """Make one or several children, and mostly wait for them."""
        made = []
        for _ in range(self._random.randint(1, 3)):
            (worker,) = self._random.choices((MIXED, SLOT, LIMITED, PULLED), (40, 30, 15, 15))
            given = {} if worker == PULLED else {"program": self._program(worker, depth=depth + 1)}
            made.append({"do": "child", "name": self._name("child"), "worker": worker, "input": given})
        names = [act["name"] for act in made]
        if self._is(0.25):
            return [*made, {"do": "any", "name": self._name("any"), "names": names}]
        timeout = round(self._random.uniform(1, 3), 1) if self._is(0.3) else None
        wait = {"do": "wait", "name": self._name("wait"), "names": names, "timeout": timeout}
        return [*made, wait] if self._is(0.9) else made

    def _map(self) -> Act:
        given = {"program": [self._step()]}
        count, width = self._random.randint(2, 6), self._random.choice((None, 2))
        return {
            "do": "map", "name": self._name("map"), "worker": MIXED, "input": given, "count": count, "width": width,
        }  # fmt: skip

    def _gather(self) -> Act:
        programs = [self._acts(SLOT, depth=0, in_branch=True) for _ in range(self._random.randint(2, 3))]
        return {"do": "gather", "programs": programs}
