"""What the load's handlers did and when, on the one stopwatch that all processes of a machine share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Attempt", "Effect", "append", "attempts", "read", "run_twice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One thing that a handler did."""

    job_id: str
    #: Which call of the handler: its process and its number there.
    attempt: str
    #: `begin`, `tick` or `done`.
    kind: str
    #: Seconds of the machine's monotonic clock.
    at: float


def append(path: str, effect: Effect) -> None:
    """Add an effect to a file that many processes write: one short write at its end, which no other tears apart."""
    line = f"{effect.job_id} {effect.attempt} {effect.kind} {effect.at:.6f}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Effect]:
    """Every effect so far, in the order of their times."""
    text = path.read_text() if path.exists() else ""
    # A write that goes over the end of a page can be seen when half of it is there.
    found = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    effects = [Effect(job_id=job_id, attempt=attempt, kind=kind, at=float(at)) for job_id, attempt, kind, at in found]
    return sorted(effects, key=lambda effect: effect.at)


@dataclass(kw_only=True, slots=True)
class Attempt:
    """One call of the handler."""

    job_id: str
    began_at: float
    #: When it last did something.
    last_at: float
    is_done: bool = False


def attempts(effects: Iterable[Effect]) -> dict[str, list[Attempt]]:
    """Each job's attempts, in the order in which they began."""
    by_attempt: dict[tuple[str, str], Attempt] = {}
    for effect in effects:
        key = (effect.job_id, effect.attempt)
        attempt = by_attempt.setdefault(key, Attempt(job_id=effect.job_id, began_at=effect.at, last_at=effect.at))
        attempt.last_at = effect.at
        attempt.is_done |= effect.kind == "done"
    by_job: dict[str, list[Attempt]] = {}
    for attempt in by_attempt.values():
        by_job.setdefault(attempt.job_id, []).append(attempt)
    return by_job


def run_twice(by_job: dict[str, list[Attempt]]) -> list[str]:
    """The jobs of which one attempt did anything after a later one had begun."""
    return [
        job_id
        for job_id, found in by_job.items()
        if any(later.began_at < earlier.last_at for earlier, later in itertools.pairwise(found))
    ]
