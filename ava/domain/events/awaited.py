"""Events that handlers wait for: a type, a pattern over the whole event, and keys that lead from events to waits.

A field is exact if its list has a single value and no rule: `{"data": {"order_id": ["A-17"]}}`. A pattern's key hashes
the paths and values of its exact fields. An event has a key for each combination of its values at these paths, so it is
compared only with the waits of its keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import product
from math import prod
from typing import Any
from uuid import UUID

from ava.domain.events.event import OWN_PREFIX, compact_json, is_client_type
from ava.domain.events.patterns import Comparisons, Pattern, compile_pattern
from ava.errors import TooManyComparisons

#: Maximum exact fields of a pattern that its key hashes, in order of their paths.
_MAX_FIELDS = 8
#: Maximum values of an event that are read for one list of paths, and maximum keys.
_MAX_VALUES = 5_000
MAX_KEYS = 200
#: Max characters of a string in a pattern (`ava.domain.events.awaited.MAX_MATCH_CHARS`).
_MAX_CHARS = 16 * 1024

_Path = tuple[str, ...]


class TooManyKeys(Exception):
    """The event's lists contain too many values: compare it with every wait with these paths."""


def pattern_key(match: Mapping[str, Any] | None) -> UUID:
    """Return the key of a valid pattern. All patterns without exact fields share one key."""
    fields = _exact_fields(match or {})
    return UUID(bytes=_hash([path for path, _ in fields]) + _hash([_comparable(value) for _, value in fields]))


def event_keys(match: Mapping[str, Any] | None, event: Mapping[str, Any]) -> Collection[UUID]:
    """Return the possible keys of patterns that have the exact paths of `match` and match the event.

    Raise `TooManyKeys`.
    """
    paths = [path for path, _ in _exact_fields(match or {})]
    first = _hash(paths)
    found = [_values_at(event, path) for path in paths]
    if prod(map(len, found)) > MAX_KEYS:
        raise TooManyKeys
    return {UUID(bytes=first + _hash(values)) for values in product(*found)}


def last_key(key: UUID) -> UUID:
    return UUID(int=key.int | 2**64 - 1)


def first_key(key: UUID) -> UUID:
    """Return the least key with the same paths. No wait has it."""
    return UUID(int=key.int >> 64 << 64)


def _exact_fields(match: Mapping[str, Any]) -> list[tuple[_Path, Any]]:
    found: list[tuple[_Path, Any]] = []
    pending: list[tuple[_Path, Any]] = [((), match)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, Mapping):
            pending += [((*path, name), each) for name, each in node.items()]
        elif len(node) == 1 and not isinstance(node[0], Mapping):
            found.append((path, node[0]))
    return sorted(found, key=lambda field: field[0])[:_MAX_FIELDS]


def _values_at(event: Mapping[str, Any], path: _Path) -> list[Any]:
    """Return the distinct values that a rule at the path is compared with."""
    nodes: list[Any] = [event]
    count = 0
    for name in (*path, None):
        count += sum(len(node) if isinstance(node, list) else 1 for node in nodes)
        if count > _MAX_VALUES:
            raise TooManyKeys
        # A pattern applies to the entries of a list, but not to entries of a nested list.
        entries = [each for node in nodes for each in (node if isinstance(node, list) else (node,))]
        nodes = entries if name is None else [each[name] for each in entries if isinstance(each, dict) and name in each]
    # Include the type, because True equals 1.
    values = {(type(each), each): each for each in map(_comparable, nodes) if _is_scalar(each)}
    return list(values.values())


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_CHARS
    return value is None or isinstance(value, bool | int | float)


def _comparable(value: Any) -> Any:
    # 1.0 equals 1, so both need the same form.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(values: Collection[Any]) -> bytes:
    return blake2b(json.dumps(list(values)).encode(), digest_size=8).digest()


MAX_MATCH_CHARS = 16 * 1024
#: Unstorable characters in JSON that is not limited to ASCII: NUL and lone surrogates.
_UNSTORABLE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


@dataclass(frozen=True)
class AwaitedEvent:
    """The event that a call of `env.wait_event` waits for. The pattern is compiled at its first use."""

    type: str
    match: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def of(cls, type_: object, match: object) -> AwaitedEvent:
        """Return the validated wait of a handler. Raise `ValueError`."""
        if not isinstance(type_, str) or not is_client_type(type_):
            raise ValueError(
                f"the event type must be 1 to 200 visible ASCII characters and not begin with {OWN_PREFIX}, "
                f"not {type_!r:.80}"
            )
        if type_.endswith(".*"):
            raise ValueError(
                f"a wait needs one exact event type; only subscriptions take a prefix such as {type_!r:.80}"
            )
        if match is None:
            return cls(type_)
        if not isinstance(match, Mapping):
            raise ValueError(f"match must be a pattern, an object of fields, not {type(match).__name__}")
        try:
            json_string = compact_json(match)
            found = cls(type_, json.loads(json_string))
            if _UNSTORABLE.search(json.dumps(found.match, ensure_ascii=False)):
                raise ValueError("it must not contain NUL or half of a surrogate pair")
            compile_pattern(found.match)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"match: {error}") from error
        if len(json_string) > MAX_MATCH_CHARS:
            raise ValueError(
                f"match has {len(json_string):,} characters of JSON; at most {MAX_MATCH_CHARS:,} are accepted"
            )
        return found

    @classmethod
    def read(cls, json_string: str) -> AwaitedEvent:
        stored = json.loads(json_string)
        return cls(stored["type"], stored["match"])

    @property
    def shown(self) -> dict[str, Any]:
        return {"type": self.type, "match": self.match}

    @property
    def json(self) -> str:
        return compact_json(self.shown)

    @property
    def key(self) -> UUID:
        """Return the key that matching events look up (`ava.domain.events.awaited`)."""
        return pattern_key(self.match)

    @cached_property
    def _pattern(self) -> Pattern | None:
        return None if self.match is None else compile_pattern(self.match)

    def matches(self, record: dict[str, Any], total: Comparisons | None = None) -> bool:
        """Return True if the event satisfies the wait; add the comparisons to `total`.

        An event that needs more than `MAX_COMPARISONS` satisfies no wait: in a run, in the dispatcher and in tests.
        """
        if record["type"] != self.type:
            return False
        try:
            return self._pattern is None or self._pattern.matches(record, total)
        except TooManyComparisons:
            return False
