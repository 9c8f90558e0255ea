"""Events that handlers wait for: a type, and a pattern over the whole event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from ava.domain.events.event import OWN_PREFIX, compact_json, is_client_type
from ava.domain.events.match_keys import pattern_key
from ava.domain.events.patterns import Comparisons, Pattern, compile_pattern
from ava.errors import TooManyComparisons

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
        """Return the key that matching events look up (`ava.domain.events.match_keys`)."""
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
