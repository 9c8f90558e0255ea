"""The jobs that a handler created: its children, and the outputs of awaited ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from ava.domain.jobs.job import Status
from ava.domain.jobs.waits import MAX_OUTPUT_BYTES, ChildState
from ava.errors import OutputError
from ava.handler.errors import ChildFailed

_OUTPUTS_PER_STATEMENT = 100

#: Reads outputs of children, as serialized JSON by id.
ReadOutputs = Callable[[Sequence[str]], Mapping[str, str | None]]


class ChildJob:
    def __init__(self, state: ChildState, read_outputs: ReadOutputs) -> None:
        self._state = state
        self._read_outputs = read_outputs
        self._output: list[Any] = []

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def worker_id(self) -> str:
        return self._state.worker_id

    @property
    def status(self) -> str:
        """Return the status, as of the run's start or its last wait for it."""
        return self._state.status.value

    @property
    def error(self) -> str | None:
        """Return why it failed, or why the system cancelled it."""
        return self._state.error

    @property
    def output(self) -> Any:
        """Return the output; None unless it has completed. The first access reads it."""
        if self._state.status is not Status.COMPLETED:
            return None
        if not self._output:
            output_json = self._read_outputs([self.id]).get(self.id)
            self._output.append(None if output_json is None else json.loads(output_json))
        return self._output[0]

    @property
    def is_loaded(self) -> bool:
        return self._state.status is not Status.COMPLETED or bool(self._output)

    def load(self) -> None:
        _ = self.output

    @property
    def is_unfinished(self) -> bool:
        return self._state.is_unfinished

    @property
    def end_no(self) -> int | None:
        """Return the sequence number of its end, roughly in order."""
        return self._state.end_no

    @property
    def failure(self) -> ChildFailed | None:
        """Return the error that a wait for it raises; None if it has completed or is unfinished."""
        if self.is_unfinished or self._state.status is Status.COMPLETED:
            return None
        reason = self.error or f"{self.status}"
        return ChildFailed(f"{self.worker_id} ({self.id}): {reason}", self)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "worker_id": self.worker_id, "status": self.status, "error": self.error}

    def __repr__(self) -> str:
        return f"<Child {self.id} of {self.worker_id}: {self.status}>"


class Outputs(Sequence[Any]):
    """The outputs of children, in the given order, read lazily, in pages.

    For children that did not complete it contains their errors, if the wait returns them.
    """

    def __init__(self, children: Sequence[ChildJob], read_outputs: ReadOutputs) -> None:
        self._children = children
        self._read_outputs = read_outputs
        #: The last page, the index of its first child, and the bytes of its outputs as JSON.
        self._page: Sequence[Any] = ()
        self._first = self._page_bytes = 0

    @property
    def is_loaded(self) -> bool:
        return bool(self._page) or not self._children

    def load(self) -> None:
        self._read(0)

    def __len__(self) -> int:
        return len(self._children)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"there are {len(self)} outputs")
        if not self._first <= position < self._first + len(self._page):
            self._read(position - position % _OUTPUTS_PER_STATEMENT)
        return self._page[position - self._first]

    def to_json(self) -> list[Any]:
        """Read all outputs. Raise `OutputError` if they exceed the max output of a handler."""
        found: list[Any] = []
        size = 0
        for first in range(0, len(self), _OUTPUTS_PER_STATEMENT):
            if not self._page or self._first != first:
                self._read(first)
            found += (each.child.to_json() if isinstance(each, ChildFailed) else each for each in self._page)
            size += self._page_bytes
            if size > MAX_OUTPUT_BYTES:
                raise OutputError(f"the outputs of {len(self)} children are more than {MAX_OUTPUT_BYTES} bytes")
        return found

    def _read(self, first: int) -> None:
        children = self._children[first : first + _OUTPUTS_PER_STATEMENT]
        outputs = self._read_outputs([child.id for child in children if child.failure is None])
        self._page = [child.failure or _value(outputs.get(child.id)) for child in children]
        self._page_bytes = sum(len(output_json or "") for output_json in outputs.values())
        self._first = first

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Outputs of {len(self)} jobs>"


def _value(output_json: str | None) -> Any:
    return None if output_json is None else json.loads(output_json)


def json_of(value: Any) -> Any:
    """Return outputs, a child or its error as JSON, for `json.dumps`. Raise `TypeError` for other values."""
    if isinstance(value, ChildJob | Outputs):
        return value.to_json()
    if isinstance(value, ChildFailed) and isinstance(value.child, ChildJob):
        return value.child.to_json()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def as_json(value: Any, *, outer: frozenset[int] = frozenset()) -> Any:
    """Return the handler's result with JSON instead of outputs, children and their errors.

    `outer`: the ids of enclosing containers, because a container may contain itself.
    """
    if isinstance(value, ChildJob | Outputs | ChildFailed):
        return json_of(value)
    if type(value) not in (dict, list, tuple) or id(value) in outer:
        return value
    outer |= {id(value)}
    if isinstance(value, dict):
        return {key: as_json(part, outer=outer) for key, part in value.items()}
    return [as_json(part, outer=outer) for part in value]
