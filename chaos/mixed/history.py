"""The history of a mixed load: facts that handlers recorded, requests of clients, and the outcome of each job."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.effects import Effect


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One thing that a handler recorded."""

    job_id: str
    run: str
    #: `begin`, `tick`, `ask`, `got`, `ran`, `branch`, `left` or `done` (`chaos.mixed.handlers`).
    kind: str
    at: float
    #: The name of the call in the journal; "" if the fact concerns no call.
    name: str = ""
    #: The answer of the journal, or the return value of a step's function.
    value: Any = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHistory:
    """One call of a handler."""

    job_id: str
    name: str
    attempt: int
    worker_id: str
    facts: list[Fact]

    @property
    def began_at(self) -> float:
        return self.facts[0].at

    @property
    def last_at(self) -> float:
        return self.facts[-1].at

    @property
    def is_done(self) -> bool:
        return any(fact.kind == "done" for fact in self.facts)

    @property
    def is_lost(self) -> bool:
        """True if the run recorded neither its end nor a wait, because its process died."""
        return not any(fact.kind in ("done", "left") for fact in self.facts)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a job in the service's record."""

    status: str
    error: str | None = None
    #: The run that its output names.
    run: str | None = None
    parent_id: str | None = None
    worker_id: str = ""
    #: How many of its runs died with their node, by the service's record: a run may die before its handler begins.
    node_losses: int = 0
    #: When a client learned that it was final, on the monotonic clock.
    seen_at: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A bulk of entries that depend on each other."""

    #: The job of each entry, by the entry's name.
    jobs: Mapping[str, str]
    #: The `after` and the `when` of each entry that has one.
    after: Mapping[str, Collection[str]]
    when: Mapping[str, str]
    #: The entry that an entry's `$output` names.
    given: Mapping[str, str]


@dataclass(kw_only=True)
class Asked:
    """Requests that the API accepted."""

    accepted: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    #: The deadline in seconds of each job that has one.
    deadlines: dict[str, float] = field(default_factory=dict)
    graphs: list[Graph] = field(default_factory=list)
    #: The numbers of accepted events, accepted hook deliveries and committed orders, by kind. Each is one job.
    sources: dict[str, set[int]] = field(default_factory=dict)


@dataclass(kw_only=True)
class History:
    """The facts, requests and outcomes of one round of the load."""

    #: The runs of each job, by their beginning.
    runs: Mapping[str, list[RunHistory]]
    outcomes: Mapping[str, Outcome]
    asked: Asked
    #: `max_running` of each worker that has one.
    limits: Mapping[str, int] = field(default_factory=dict)
    #: The webhook requests about each job, as pairs of the event's id and the digest of the body; None: not observed.
    deliveries: Mapping[str, set[tuple[str, bytes]]] | None = None

    def facts(self, job_id: str, *kinds: str) -> list[Fact]:
        """Return a job's facts of some kinds, in the order of its runs."""
        return [fact for run in self.runs.get(job_id, ()) for fact in run.facts if fact.kind in kinds]


def runs_of(effects: Iterable[Effect]) -> dict[str, list[RunHistory]]:
    """Return the runs of each job of the mixed load, by their beginning. Other handlers record no details."""
    found: dict[tuple[str, str], list[Fact]] = {}
    for effect in sorted(effects, key=lambda effect: effect.at):
        more = json.loads(effect.detail or "{}")
        fact = Fact(
            job_id=effect.job_id, run=effect.run, kind=effect.kind, at=effect.at,
            name=more.pop("name", ""), value=more.pop("value", None), more=more,
        )  # fmt: skip
        found.setdefault((effect.job_id, effect.run), []).append(fact)
    by_job: dict[str, list[RunHistory]] = {}
    for (job_id, name), facts in found.items():
        first = facts[0].more
        if "worker" not in first:
            continue
        run = RunHistory(
            job_id=job_id, name=name, attempt=first.get("attempt", 1), worker_id=first.get("worker", ""), facts=facts
        )
        by_job.setdefault(job_id, []).append(run)
    return by_job
