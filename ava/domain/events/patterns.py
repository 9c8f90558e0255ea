"""Patterns over events, in the manner of Amazon EventBridge. No code and no regular expressions.

A pattern is an object of the fields that are compared. A list has the values or rules of which one must hold; an object
goes a level deeper. Of a list in the event one entry must match. The time is linear in the event for each rule.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ava.domain.events.paths import MISSING

#: Levels of objects inside each other, and rules of one pattern: the limits `pattern_levels` and `pattern_rules`.
MAX_LEVELS = 20
MAX_RULES = 100
#: Characters of a value that a reason repeats.
_MAX_SHOWN = 80


class PatternError(ValueError):
    """A pattern is wrong; `path` says where."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


#: Returns True if a value, or `MISSING`, is what the rule asks for.
_Rule = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The rules of one field, of which one must hold."""

    path: str
    rules: tuple[_Rule, ...]
    #: The rules as they were written.
    text: str
    #: Whether a field that is missing may match.
    takes_missing: bool

    def fault(self, value: Any) -> tuple[_Leaf, Any] | None:
        """Returns None if the value matches, else what does not."""
        if value is MISSING:
            return None if self.takes_missing else (self, value)
        values = value if isinstance(value, list) else (value,)
        if self.takes_missing and value == []:
            return None
        for rule in self.rules:
            for each in values:
                if rule(each):
                    return None
        return self, value


@dataclass(frozen=True, slots=True)
class _Branch:
    """The fields of an object, all of which must match."""

    path: str
    fields: tuple[tuple[str, _Leaf | _Branch], ...]

    def fault(self, value: Any) -> tuple[_Leaf | _Branch, Any] | None:
        """Returns None if the value matches, else what does not."""
        if isinstance(value, list):
            found: tuple[_Leaf | _Branch, Any] | None = (self, MISSING)
            for each in value:
                if isinstance(each, dict) and (found := self.fault(each)) is None:
                    return None
            return found
        is_object = isinstance(value, dict)
        for name, node in self.fields:
            if (found := node.fault(value.get(name, MISSING) if is_object else MISSING)) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    _root: _Branch

    def matches(self, event: dict[str, Any]) -> bool:
        """Returns True if an event matches."""
        return self._root.fault(event) is None

    def reason(self, event: dict[str, Any]) -> str | None:
        """Returns why an event does not match, with the path; None if it does."""
        fault = self._root.fault(event)
        if fault is None:
            return None
        node, value = fault
        if isinstance(node, _Branch):
            return f"{node.path}: the list has no entry that matches"
        if value is MISSING:
            return f"{node.path}: it is missing, and must match {node.text}"
        return f"{node.path}: {_shown(value)} does not match {node.text}"


def compile_pattern(given: Any) -> Pattern:
    """Returns a pattern. Raises `PatternError` with the path of what is wrong."""
    compiler = _Compiler()
    return Pattern(compiler.branch("", given, level=1))


class _Compiler:
    def __init__(self) -> None:
        self._rules = 0

    def branch(self, path: str, given: Any, *, level: int) -> _Branch:
        if not isinstance(given, dict):
            raise PatternError(path, "It must be an object of fields.")
        if level > MAX_LEVELS:
            sentence = f"It nests too deep; at most {MAX_LEVELS} levels are accepted."
            raise PatternError(path, f"{sentence} (limit pattern_levels)")
        if not given and path:
            raise PatternError(path, "It is empty; leave it out, or name a field.")
        return _Branch(path, tuple((name, self._node(path, name, each, level)) for name, each in given.items()))

    def _node(self, path: str, name: str, given: Any, level: int) -> _Leaf | _Branch:
        path = f"{path}.{name}" if path else name
        if len(path) > 1000:
            raise PatternError(path[:_MAX_SHOWN], "Its path is too long; at most 1,000 characters are accepted.")
        if name.startswith("$"):
            raise PatternError(path, "No field begins with $; there are no operators of this form.")
        if isinstance(given, dict):
            return self.branch(path, given, level=level + 1)
        if not isinstance(given, list):
            raise PatternError(path, f"It must be a list of values or rules, such as [{_shown(given)}].")
        if not given:
            raise PatternError(path, "The list is empty, so nothing would match.")
        self._rules += len(given)
        if self._rules > MAX_RULES:
            sentence = f"There are too many rules; at most {MAX_RULES} are accepted."
            raise PatternError(path, f"{sentence} (limit pattern_rules)")
        read = [_read_rule(f"{path}[{index}]", each) for index, each in enumerate(given)]
        takes_missing = any(rule is _is_absent for rule in read)
        return _Leaf(path, tuple(read), _shown(given), takes_missing)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _read_rule(path: str, given: Any) -> _Rule:
    if isinstance(given, list):
        raise PatternError(path, 'It must be a value, or a rule such as {"prefix": "a"}.')
    if not isinstance(given, dict):
        return _equals(given)
    if len(given) != 1:
        raise PatternError(path, f"A rule has one operator; known are {', '.join(_OPERATORS)}.")
    ((operator, operand),) = given.items()
    read = _OPERATORS.get(operator)
    if read is None:
        raise PatternError(path, f"The operator {_shown(operator)} is not known; known are {', '.join(_OPERATORS)}.")
    return read(f"{path}.{operator}", operand)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equals(wanted: Any) -> _Rule:
    if isinstance(wanted, bool) or wanted is None:
        return lambda value: value is wanted
    if _is_number(wanted):
        return lambda value: _is_number(value) and bool(value == wanted)
    return lambda value: isinstance(value, str) and value == wanted


def _text(path: str, operand: Any) -> str:
    if not isinstance(operand, str) or not operand:
        raise PatternError(path, "It must be a text.")
    return operand


def _prefix(path: str, operand: Any) -> _Rule:
    text = _text(path, operand)
    return lambda value: isinstance(value, str) and value.startswith(text)


def _suffix(path: str, operand: Any) -> _Rule:
    text = _text(path, operand)
    return lambda value: isinstance(value, str) and value.endswith(text)


def _anything_but(path: str, operand: Any) -> _Rule:
    if isinstance(operand, dict):
        if not set(operand) <= {"prefix", "suffix"}:
            raise PatternError(path, "It must be a value, a list of values, or a rule of prefix or suffix.")
        excluded = [_read_rule(path, operand)]
    else:
        values = operand if isinstance(operand, list) else [operand]
        if not values or any(isinstance(each, list | dict) for each in values):
            raise PatternError(path, "It must be a value, a list of values, or a rule of prefix or suffix.")
        if len(values) > MAX_RULES:
            raise PatternError(path, f"There are too many values; at most {MAX_RULES} are accepted.")
        excluded = [_equals(each) for each in values]
    return lambda value: not any(rule(value) for rule in excluded)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, bound: bool(value == bound),
    "<": lambda value, bound: bool(value < bound),
    "<=": lambda value, bound: bool(value <= bound),
    ">": lambda value, bound: bool(value > bound),
    ">=": lambda value, bound: bool(value >= bound),
}


def _numeric(path: str, operand: Any) -> _Rule:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise PatternError(path, 'It must be a list such as [">", 0, "<=", 5].')
    for operator, bound in zip(operand[::2], operand[1::2], strict=True):
        if not isinstance(operator, str) or operator not in _COMPARISONS:
            raise PatternError(path, f"The comparison {_shown(operator)} is none of {' '.join(_COMPARISONS)}.")
        if not _is_number(bound):
            raise PatternError(path, f"{_shown(bound)} is no number.")
    bounds = [(_COMPARISONS[each], bound) for each, bound in zip(operand[::2], operand[1::2], strict=True)]
    return lambda value: _is_number(value) and all(compare(value, bound) for compare, bound in bounds)


def _is_absent(_value: Any) -> bool:
    return False


def _is_present(value: Any) -> bool:
    return value is not MISSING


def _exists(path: str, operand: Any) -> _Rule:
    if not isinstance(operand, bool):
        raise PatternError(path, "It must be true or false.")
    return _is_present if operand else _is_absent


def _cidr(path: str, operand: Any) -> _Rule:
    try:
        network = ipaddress.ip_network(_text(path, operand), strict=False)
    except ValueError:
        raise PatternError(path, "It must be a network such as 10.0.0.0/24.") from None

    def is_inside(value: Any) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return is_inside


_OPERATORS: dict[str, Callable[[str, Any], _Rule]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
    "cidr": _cidr,
}
