"""Declared graphs: bulk entries with predecessors, validated by names only, and references to outputs."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from secrets import token_hex
from typing import Any

from ava.domain.jobs.job import Job, JobSpec
from ava.domain.record import about

KEY = "$output"
_DEFAULT = "default"


#: Max shown characters of each step of a path in an input.
_MAX_STEP = 100


class ReferenceFault(ValueError):
    """A malformed reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """A value's place in an input. Its path is built on demand: many values may be below one long key."""

    step: str
    above: _Place | None = None

    def __str__(self) -> str:
        steps: list[str] = []
        place: _Place | None = self
        while place is not None:
            steps.append(place.step[:_MAX_STEP])
            place = place.above
        return "".join(reversed(steps))


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputReference:
    """A reference: the entry with the output, and the path in it."""

    #: Its own path in the input, such as `input.rows[0]`.
    place: _Place
    name: str
    path: tuple[str, ...]
    #: Its value if the output has no such part.
    default: Any


def references(template: Any, location: str = "input") -> Iterator[OutputReference]:
    """Yield the references in an input. Raise `ReferenceFault`, with its path, for a malformed one."""
    waiting: list[tuple[_Place, Any]] = [(_Place(step=location), template)]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, Mapping):
            if KEY in value:
                yield _reference(at, value)
            else:
                waiting += [(_Place(step=f".{key}", above=at), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [(_Place(step=f"[{n}]", above=at), part) for n, part in enumerate(value)]


def _reference(at: _Place, value: Mapping[str, Any]) -> OutputReference:
    reference = value[KEY]
    if not isinstance(reference, str) or not reference:
        raise ReferenceFault(f"{at}: {KEY} must be a string, the name of an entry and a path, such as a.rows.0.")
    if unknown := set(value) - {KEY, _DEFAULT}:
        raise ReferenceFault(f"{at}: an object with {KEY} may also have default, but not {sorted(unknown)[0]}.")
    name, *path = reference.split(".")
    return OutputReference(place=at, name=name, path=tuple(path), default=value.get(_DEFAULT))


class ResolvedTooLarge(ValueError):
    """An input with its outputs exceeds a limit."""

    def __init__(self, size: int, max_bytes: int) -> None:
        super().__init__(f"at least {size} bytes, more than {max_bytes}")
        self.bytes, self.max_bytes = size, max_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferringInput:
    """An input without its references: JSON around the values that replace them."""

    #: One more than the references.
    around: Sequence[str]
    references: Sequence[OutputReference]

    @classmethod
    def read(cls, template_json: str) -> ReferringInput:
        token, found = token_hex(16), list[OutputReference]()
        root = [json.loads(template_json)]
        waiting: list[tuple[Any, Any]] = [(root, 0)]
        while waiting:
            holder, at = waiting.pop()
            value = holder[at]
            if isinstance(value, dict) and KEY in value:
                # No client can guess the token.
                holder[at] = f"{token}{len(found)}"
                found.append(_reference(_Place(step="input"), value))
            elif isinstance(value, dict | list):
                waiting += [(value, part) for part in (value if isinstance(value, dict) else range(len(value)))]
        around = re.split(f'"{token}([0-9]+)"', _compact(root[0]))
        return cls(around=around[::2], references=[found[int(number)] for number in around[1::2]])

    def paths(self) -> dict[str, Counter[tuple[str, ...]]]:
        """Return by entry the paths in its output, each with the number of its references."""
        found: dict[str, Counter[tuple[str, ...]]] = {}
        for each in self.references:
            found.setdefault(each.name, Counter())[each.path] += 1
        return found

    def resolve(self, parts: Mapping[tuple[str, tuple[str, ...]], str], *, max_bytes: int) -> str:
        """Return the input with the parts, as JSON by entry and path, or defaults or null for missing ones.

        Raise `ResolvedTooLarge` before building a longer input.
        """
        pieces = [self.around[0]]
        for reference, after in zip(self.references, self.around[1:], strict=True):
            part = parts.get((reference.name, reference.path))
            # The pieces share the parts, so that only the join takes the memory that is counted here.
            pieces += (_compact(reference.default) if part is None else part, after)
        check_bytes(sum(map(len, pieces)), max_bytes)
        return "".join(pieces)


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise `ResolvedTooLarge` if an input has too many bytes."""
    if size > max_bytes:
        raise ResolvedTooLarge(size, max_bytes)


def part_json(output: Any, path: tuple[str, ...]) -> str | None:
    """Return the JSON of a part of an output; None if it has no such part."""
    found, value = _part(output, path)
    return _compact(value) if found else None


_compact = json.JSONEncoder(separators=(",", ":")).encode


def _part(output: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Return whether the output has the path, and the value there."""
    for step in path:
        if isinstance(output, Mapping) and step in output:
            output = output[step]
        elif isinstance(output, list) and step.isascii() and step.isdigit() and int(step) < len(output):
            output = output[int(step)]
        else:
            return False, None
    return True, output


NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")


class When(StrEnum):
    """The outcomes of its predecessors that let an entry start."""

    COMPLETED = "completed"
    ENDED = "ended"
    FAILED = "failed"


class RetryFrom(StrEnum):
    """Which jobs of a graph a retry creates again."""

    #: The jobs that did not complete.
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    name: str | None = None
    #: Names of the predecessors, without duplicates.
    after: tuple[str, ...] = ()
    when: When = When.COMPLETED
    #: Whether its input refers to their outputs.
    has_references: bool = False


def edges(specs: Sequence[JobSpec]) -> int:
    return sum(len(entry.after) for entry in _entries(specs).values())


def is_graph(specs: Sequence[JobSpec]) -> bool:
    """Return True if an entry of the bulk has a name or predecessors."""
    return any(spec.entry is not None for spec in specs)


def is_unresolved(job: Job) -> bool:
    """Return True if the job has never run and its input still refers to outputs."""
    return job.run_no == 0 and job.tree_id is not None and job.parent_id is None and has_references(job.input_json)


def has_references(input_json: str) -> bool:
    """Return True if the input, of an entry with predecessors, refers to outputs."""
    return f'"{KEY}"' in input_json


def faults(specs: Sequence[JobSpec], *, max_faults: int) -> dict[str, list[str]]:
    """Return the graph's faults by field; empty if it is valid. Stop once `max_faults` are found."""
    named: dict[str, int] = {}
    found: dict[str, list[str]] = {}
    for n, entry in _entries(specs).items():
        if entry.name is not None and named.setdefault(entry.name, n) != n:
            found[f"jobs[{n}].name"] = [f"jobs[{named[entry.name]}] has the same name; names must be unique in a bulk."]
    for n, entry in _entries(specs).items():
        if len(found) >= max_faults:
            break
        found |= _faults_of(n, entry, specs[n], named)
    if not found and (circle := _circle(specs, named)):
        found[f"jobs[{circle[0]}].after"] = ["It is part of a cycle, so its entries could never start."]
    return found


def _entries(specs: Sequence[JobSpec]) -> dict[int, Entry]:
    return {n: spec.entry for n, spec in enumerate(specs) if spec.entry is not None}


def _faults_of(n: int, entry: Entry, spec: JobSpec, named: Mapping[str, int]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for position, name in enumerate(entry.after):
        if name not in named:
            found[f"jobs[{n}].after[{position}]"] = ["No entry of this bulk has this name."]
        elif named[name] == n:
            found[f"jobs[{n}].after[{position}]"] = ["An entry must not name itself in after."]
    for rule in ("dedupe", "debounce"):
        if entry.after and getattr(spec, rule) is not None:
            found[f"jobs[{n}].{rule}"] = ["It must not be sent together with after."]
    return found | _reference_faults(n, entry, spec) if entry.has_references else found


def _reference_faults(n: int, entry: Entry, spec: JobSpec) -> dict[str, list[str]]:
    try:
        for reference in references(json.loads(spec.input_json), f"jobs[{n}].input"):
            if reference.name not in entry.after:
                # One fault, because a large input has tens of thousands of references.
                return {
                    str(reference.place): [f"{KEY} names {reference.name}, which must be in the after of this entry."]
                }
    except ReferenceFault as fault:
        location, _, reason = str(fault).partition(": ")
        return {location: [reason]}
    return {}


def _circle(specs: Sequence[JobSpec], named: Mapping[str, int]) -> list[int]:
    """Return the entries in or behind a cycle, which could never start, in order."""
    entries = _entries(specs)
    left = {n: len(entry.after) for n, entry in entries.items()}
    followers: dict[int, list[int]] = {}
    for n, entry in entries.items():
        for name in entry.after:
            followers.setdefault(named[name], []).append(n)
    free = deque(n for n, count in left.items() if not count)
    while free:
        for n in followers.get(free.popleft(), ()):
            left[n] -= 1
            if not left[n]:
                free.append(n)
    return sorted(n for n, count in left.items() if count)


#: Max shown waits of a job of a tree, the latest.
MAX_TREE_WAITS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeWait:
    """A wait of a job."""

    began_at: datetime
    ended_at: datetime | None = field(metadata=about("When the handler was entered again after the wait; null before."))


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeJob:
    """A job of a tree, without its input and output, and its position in the tree."""

    job: Job = field(metadata={"internal": True})
    name: str | None = field(metadata=about("Its name in its bulk, or among the children of its parent."))
    is_detached: bool = field(metadata=about("True if a cancel of its parent does not cancel it."))
    first_run_at: datetime | None = field(
        metadata=about("Start of the first run of its attempt, also while the job waits; null before.")
    )
    waits: Sequence[TreeWait] = field(metadata=about(f"The latest {MAX_TREE_WAITS} waits, oldest first."))

    @classmethod
    def of(cls, job: Job, *, is_detached: bool, waits: Sequence[TreeWait]) -> TreeJob:
        started_at = job.first_started_at or job.started_at
        return cls(job=job, name=job.name, is_detached=is_detached, first_run_at=started_at, waits=waits)


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeEdge:
    """An edge: a job follows another job of its bulk, or is its child."""

    from_id: str = field(metadata={"name": "from", "prefix": "job"})
    to_id: str = field(metadata={"name": "to", "prefix": "job"})
    kind: str = field(metadata=about("`completed`, `ended` or `failed`: the value of `when`; or `child`."))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The jobs of a tree, with their edges."""

    tree_id: str = field(metadata={"prefix": "job"})
    jobs: Sequence[TreeJob]
    edges: Sequence[TreeEdge]

    def without_payloads(self) -> Tree:
        """Hide the names of children: a parent chooses them, maybe from its input."""
        jobs = [each if each.job.parent_id is None else replace(each, name=None) for each in self.jobs]
        return replace(self, jobs=jobs)
