"""Patterns over events, like those of Amazon EventBridge: no code and no regular expressions.

A pattern is an object of fields. A field's list holds values and rules, and at least one must match; an object descends
one level. If the event has a list there, at least one entry must match. A pattern counts its comparisons in advance,
and stops at `MAX_COMPARISONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ava.domain.events.event import MISSING
from ava.domain.events.pattern_rules import (
    MAX_RULES,
    MAX_SHOWN,
    PatternError,
    Test,
    make_tests,
    other_types,
    read_rule,
    shown,
    shown_value,
)
from ava.errors import TooManyComparisons

#: The limit `pattern_levels`.
MAX_LEVELS = 20
#: Max comparisons of one pattern with one event, up to 5 ms of work: the limit `pattern_comparisons`.
MAX_COMPARISONS = 20_000
_TOO_MANY = (
    f"It needs more than {MAX_COMPARISONS:,} comparisons with this event: its rules times the values in the event's "
    "lists. Use fewer rules, or send shorter lists. (limit pattern_comparisons)"
)


class Comparisons:
    """Counts the comparisons of one pattern, or of all patterns of a request or a pass."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        """Count comparisons that a pattern is about to make. Raise `TooManyComparisons`."""
        self.count += count
        if self.count > MAX_COMPARISONS:
            raise TooManyComparisons(f"match: {_TOO_MANY}", {"match": [_TOO_MANY]})


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The rules of one field; at least one must match."""

    path: str
    tests: tuple[Test, ...]
    cost: int
    expected: str
    #: Whether a missing field may match.
    takes_missing: bool

    def fault(self, value: Any, comparisons: Comparisons) -> tuple[_Leaf, Any] | None:
        """Return None if the value matches, otherwise the node and the value that fail."""
        if value is MISSING:
            return None if self.takes_missing else (self, value)
        values = value if isinstance(value, list) else (value,)
        if self.takes_missing and value == []:
            return None
        comparisons.add(len(values) * self.cost)
        for test in self.tests:
            holds = test.holds
            for each in values:
                if holds(each):
                    return None
        return self, value


@dataclass(frozen=True, slots=True)
class _Branch:
    """The fields of an object; all must match."""

    path: str
    fields: tuple[tuple[str, _Leaf | _Branch], ...]
    #: Whether a present value that is no object matches.
    takes_others: bool

    def fault(self, value: Any, comparisons: Comparisons) -> tuple[_Leaf | _Branch, Any] | None:
        """Return None if the value matches, otherwise the node and the value that fail."""
        if isinstance(value, list):
            comparisons.add(len(value))
            found: tuple[_Leaf | _Branch, Any] | None = (self, MISSING)
            for each in value:
                if not isinstance(each, dict):
                    if self.takes_others:
                        return None
                elif (found := self.fault(each, comparisons)) is None:
                    return None
            return found
        is_object = isinstance(value, dict)
        if self.takes_others and not is_object and value is not MISSING:
            return None
        comparisons.add(1 + len(self.fields))
        for name, node in self.fields:
            inner = value.get(name, MISSING) if is_object else MISSING
            if (found := node.fault(inner, comparisons)) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Pattern:
    _root: _Branch

    def matches(self, event: dict[str, Any], total: Comparisons | None = None) -> bool:
        """Return True if the event matches. Raise `TooManyComparisons` before they are made.

        Adds the comparisons to `total`, so that the caller can end its pass.
        """
        comparisons = Comparisons()
        try:
            return self._root.fault(event, comparisons) is None
        finally:
            if total is not None:
                total.count += comparisons.count

    def reason(self, event: dict[str, Any]) -> str | None:
        """Return why the event does not match, with the path; None if it does. Raise `TooManyComparisons`."""
        fault = self._root.fault(event, Comparisons())
        if fault is None:
            return None
        node, value = fault
        if isinstance(node, _Branch):
            return f"{node.path}: the list has no entry that matches"
        if value is MISSING:
            return f"{node.path}: it is missing, and must match {node.expected}"
        return f"{node.path}: {shown_value(value)} does not match {node.expected}"


def compile_pattern(given: Any, *, takes_other_types: bool = False) -> Pattern:
    """Compile a pattern. Raise `PatternError` with the path of the first fault.

    With `takes_other_types`, a value of another JSON type than its rules compare matches; a missing one does not.
    """
    compiler = _Compiler(takes_other_types)
    return Pattern(compiler.branch("", given, level=1))


class _Compiler:
    def __init__(self, takes_other_types: bool) -> None:
        self._takes_other_types = takes_other_types
        self._rules = 0

    def branch(self, path: str, given: Any, *, level: int) -> _Branch:
        if not isinstance(given, dict):
            raise PatternError(path, "It must be an object of fields.")
        if level > MAX_LEVELS:
            sentence = f"It nests too deep; at most {MAX_LEVELS} levels are accepted."
            raise PatternError(path, f"{sentence} (limit pattern_levels)")
        if not given and path:
            raise PatternError(path, "It is empty; omit it, or name a field.")
        fields = tuple((name, self._node(path, name, each, level)) for name, each in given.items())
        return _Branch(path, fields, self._takes_other_types)

    def _node(self, path: str, name: str, given: Any, level: int) -> _Leaf | _Branch:
        path = f"{path}.{name}" if path else name
        if len(path) > 1000:
            raise PatternError(path[:MAX_SHOWN], "Its path is too long; at most 1,000 characters are accepted.")
        if name.startswith("$"):
            raise PatternError(path, "Operators that begin with $ are not supported.")
        if isinstance(given, dict):
            return self.branch(path, given, level=level + 1)
        if not isinstance(given, list):
            raise PatternError(path, f"It must be a list of values or rules, such as [{shown(given)}].")
        if not given:
            raise PatternError(path, "The list is empty and would match nothing.")
        self._rules += len(given)
        if self._rules > MAX_RULES:
            sentence = f"There are too many rules; at most {MAX_RULES} are accepted."
            raise PatternError(path, f"{sentence} (limit pattern_rules)")
        rules = [read_rule(f"{path}[{index}]", each) for index, each in enumerate(given)]
        tests = make_tests(rules)
        if self._takes_other_types:
            tests += other_types(rules)
        takes_missing = ("exists", False) in rules
        return _Leaf(path, tests, sum(test.cost for test in tests), shown(given), takes_missing)
