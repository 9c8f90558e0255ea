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

#: Characters of a pattern as JSON.
MAX_MATCH_CHARS = 16 * 1024
#: What PostgreSQL cannot hold, in JSON text that is not limited to ASCII: NUL and halves of surrogate pairs.
_UNSTORABLE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


@dataclass(frozen=True)
class AwaitedEvent:
    """What a call of `env.wait_event` is for. The pattern is compiled at the first use."""

    type: str
    match: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def of(cls, type_: object, match: object) -> AwaitedEvent:
        """Returns what a handler asks for, checked. Raises `ValueError`."""
        if not isinstance(type_, str) or not is_client_type(type_):
            raise ValueError(
                f"the type of an event has 1 to 200 visible ASCII characters and does not begin with {OWN_PREFIX}, "
                f"unlike {type_!r:.80}"
            )
        if type_.endswith(".*"):
            raise ValueError(f"a wait is for events of one type; only subscriptions have such as {type_!r:.80}")
        if match is None:
            return cls(type_)
        if not isinstance(match, Mapping):
            raise ValueError(f"match must be a pattern, an object of fields, not {type(match).__name__}")
        try:
            text = compact_json(match)
            found = cls(type_, json.loads(text))
            if _UNSTORABLE.search(json.dumps(found.match, ensure_ascii=False)):
                raise ValueError("it has NUL, or half of a surrogate pair, which a wait cannot keep")
            compile_pattern(found.match)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"match: {error}") from error
        if len(text) > MAX_MATCH_CHARS:
            raise ValueError(f"match has {len(text):,} characters of JSON, of {MAX_MATCH_CHARS:,} that it may")
        return found

    @classmethod
    def read(cls, text: str) -> AwaitedEvent:
        """Returns what the journal has as JSON text."""
        stored = json.loads(text)
        return cls(stored["type"], stored["match"])

    @property
    def shown(self) -> dict[str, Any]:
        """Returns it as the record of a job shows it."""
        return {"type": self.type, "match": self.match}

    @property
    def json(self) -> str:
        """Returns it as the journal stores it."""
        return compact_json(self.shown)

    @property
    def key(self) -> UUID:
        """Return the key by which an event finds it (`ava.domain.events.match_keys`)."""
        return pattern_key(self.match)

    @cached_property
    def _pattern(self) -> Pattern | None:
        return None if self.match is None else compile_pattern(self.match)

    def matches(self, record: dict[str, Any], total: Comparisons | None = None) -> bool:
        """Returns True if the record of an event is one that it is for; `total` gets the comparisons.

        An event that needs more than `MAX_COMPARISONS` ends no wait, in a run, in the dispatcher, and in a test alike.
        """
        if record["type"] != self.type:
            return False
        try:
            return self._pattern is None or self._pattern.matches(record, total)
        except TooManyComparisons:
            return False
