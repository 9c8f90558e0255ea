"""The effects of the load's handlers, with times of the monotonic clock that all processes of a machine share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One action of a handler."""

    job_id: str
    #: The run, i.e. the call of the handler: its process and its number there.
    run: str
    #: `begin`, `tick` or `done`; `chaos.mixed` has others.
    kind: str
    #: Seconds of the machine's monotonic clock.
    at: float
    #: More about it, as one line of JSON; "" if there is no more.
    detail: str = ""


def append(path: str, effect: Effect) -> None:
    """Add an effect to a file that many processes write: one short append, which is atomic."""
    line = f"{effect.job_id} {effect.run} {effect.kind} {effect.at:.6f} {effect.detail}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Effect]:
    """Return every effect so far, in the order of their times."""
    return read_from(path, 0)[0]


def read_from(path: Path, position: int) -> tuple[list[Effect], int]:
    """Return the effects behind a position of the file, in the order of their times, and the next position."""
    content = b""
    if path.exists():
        with path.open("rb") as file:
            file.seek(position)
            content = file.read()
    # A write that crosses a page may be read half-written.
    content = content[: content.rfind(b"\n") + 1]
    found = [line.split(" ", 4) for line in content.decode().split("\n")[:-1]]
    effects = [
        Effect(job_id=job_id, run=run, kind=kind, at=float(at), detail=detail)
        for job_id, run, kind, at, detail in found
    ]
    return sorted(effects, key=lambda effect: effect.at), position + len(content)


def begins(path: Path) -> list[tuple[int, float]]:
    """Return the process and the time of every `begin` so far; it parses nothing else, because callers poll it."""
    content = path.read_text() if path.exists() else ""
    found = [line.split(" ", 4) for line in content[: content.rfind("\n") + 1].split("\n") if " begin " in line]
    return [(int(run.partition(".")[0]), float(at)) for _, run, _, at, _ in found]


@dataclass(kw_only=True, slots=True)
class Run:
    """One call of the handler."""

    job_id: str
    #: Its process and its number there.
    name: str
    began_at: float
    last_at: float
    is_done: bool = False


def runs(effects: Iterable[Effect]) -> dict[str, list[Run]]:
    """Return each job's runs, ordered by their start."""
    by_run: dict[tuple[str, str], Run] = {}
    for effect in effects:
        key = (effect.job_id, effect.run)
        run = by_run.setdefault(key, Run(job_id=effect.job_id, name=effect.run, began_at=effect.at, last_at=effect.at))
        run.last_at = effect.at
        run.is_done |= effect.kind == "done"
    by_job: dict[str, list[Run]] = {}
    for run in by_run.values():
        by_job.setdefault(run.job_id, []).append(run)
    return by_job


def overlapping(by_job: dict[str, list[Run]]) -> list[str]:
    """Return the jobs with a run that did anything after a later run had begun."""
    return [
        job_id
        for job_id, found in by_job.items()
        if any(later.began_at < earlier.last_at for earlier, later in itertools.pairwise(found))
    ]
