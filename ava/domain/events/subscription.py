"""Subscriptions: rules that create jobs from events."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from ava.domain.access.actor import Actor
from ava.domain.events.event import OWN_PREFIX, compact_json
from ava.domain.events.patterns import Comparisons, Pattern, compile_pattern
from ava.domain.events.templates import Template, TemplateTooLarge, compile_template, utf8_bytes
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.priority import FACTS
from ava.domain.limits.table import BODY_BYTES
from ava.domain.pause import Pause
from ava.domain.record import about
from ava.errors import PayloadTooLarge

_ANY = ".*"
_EVENT_TYPE = re.compile(r"[\x21-\x7e]{1,200}")


def is_event_type(string: str) -> bool:
    """Return True if the string is a type, or ends with `.*`, which matches one or more further parts."""
    exact = string.removesuffix(_ANY)
    return bool(_EVENT_TYPE.fullmatch(exact)) and not f"{exact}.".startswith(OWN_PREFIX)


def matches_type(event_type: str, type_: str) -> bool:
    """Return True if a subscription to `event_type` matches events of the type."""
    if not event_type.endswith(_ANY):
        return event_type == type_
    return len(type_) >= len(event_type) and type_.startswith(event_type[:-1])


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A pattern that events must match, and a template of the job's input. Both are compiled at their first use."""

    # A pattern and a template may contain event data.
    match_json: str | None = field(
        default=None,
        metadata=about(
            "A pattern over the whole event, as in Amazon EventBridge: lists of values, `prefix`, `suffix`, "
            "`anything-but`, `numeric`, `exists`, `cidr`, nested objects. Default: every event matches.",
            payload="value",
        ),
    )
    input_json: str | None = field(
        default=None,
        metadata=about(
            'A template of the job\'s input: `{"$get": "data.number", "default": 0}` anywhere in it is replaced by a '
            'value of the event. Default: `{"event": …}`.',
            payload="value",
        ),
    )

    @cached_property
    def pattern(self) -> Pattern | None:
        return None if self.match_json is None else compile_pattern(json.loads(self.match_json))

    @cached_property
    def template(self) -> Template | None:
        return None if self.input_json is None else compile_template(json.loads(self.input_json))

    def matches(self, event: dict[str, Any], total: Comparisons | None = None) -> bool:
        """Return True if the event matches; add the comparisons to `total`. Raise `TooManyComparisons`."""
        return self.pattern is None or self.pattern.matches(event, total)


def make_input(rule: Rule, event: dict[str, Any]) -> str:
    """Return the input, serialized, of the job that an event's record creates.

    Raise `PayloadTooLarge` if it is not an object, or too large for an input with its envelope.
    """
    max_bytes = BODY_BYTES.value
    try:
        if rule.template is not None:
            input_json = rule.template.fill(event, max_bytes=max_bytes)
        else:
            input_json = compact_json({"event": event})
            if len(input_json) > max_bytes and utf8_bytes(input_json) > max_bytes:
                raise TemplateTooLarge
    except TemplateTooLarge:
        raise PayloadTooLarge(
            BODY_BYTES.message(
                f"The input created from the event is too large; at most {max_bytes:,} bytes are accepted."
            )
        ) from None
    if not input_json.startswith("{"):
        raise PayloadTooLarge("The input created from the event must be an object.")
    return input_json


@dataclass(frozen=True, kw_only=True)
class SubscriptionSpec(Rule):
    """A subscription as a client requests it."""

    event_type: str = field(
        metadata=about(
            "The exact type of the events, or a prefix with a final `.*` for one or more further parts: "
            "`github.pull_request.*`."
        )
    )
    worker_id: str = field(metadata=about("The worker. Each matching event creates a job."))
    name: str | None = field(default=None, metadata=about("A display name.", longest=200))
    priority: int = field(default=DEFAULT_PRIORITY, metadata=FACTS)


@dataclass(frozen=True, kw_only=True)
class Subscription(SubscriptionSpec):
    """A stored subscription."""

    id: str = field(metadata={"prefix": "sub"})
    tenant_id: str
    paused: Pause | None
    created_by: Actor
    #: The persons who have changed it, as `actor.join` writes them.
    changers: str | None = None
    created_at: datetime
    updated_at: datetime


class SubscriptionIndex:
    """A tenant's unpaused subscriptions by event type; a lookup tries the type and each of its prefixes."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._by_type: dict[str, list[Subscription]] = defaultdict(list)
        for each in subscriptions:
            self._by_type[each.event_type].append(each)

    def candidates(self, type_: str) -> Sequence[Subscription]:
        """Return the subscriptions that match the type, oldest first."""
        lists = [found for name in _names(type_) if (found := self._by_type.get(name))]
        return lists[0] if len(lists) == 1 else sorted((each for some in lists for each in some), key=lambda s: s.id)


def _names(type_: str) -> Iterator[str]:
    yield type_
    end = type_.rfind(".", 0, -1)
    while end > 0:
        yield type_[:end] + _ANY
        end = type_.rfind(".", 0, end)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The job that a subscription would create for an event."""

    matches: bool
    reason: str | None = field(metadata=about("The path that does not match and why, or why no input can be created."))
    input_json: str | None = field(metadata=about("The input of the job; null if it does not match."))
