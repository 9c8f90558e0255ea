"""Read the rules of a pattern, and combine the rules of one field into few tests."""

from __future__ import annotations

import ipaddress
import json
import operator as operators
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain.events.event import MISSING

#: Maximum rules of a pattern, and values of one `anything-but`: the limit `pattern_rules`.
MAX_RULES = 100
#: Max characters of a value that an explanation repeats.
MAX_SHOWN = 80
#: Comparisons that parsing an address, and a comparison with one network, count as.
_ADDRESS_COST, _NETWORK_COST = 50, 10
#: IPv6 with an IPv4 part and a scope.
_MAX_ADDRESS_CHARS = 100


class PatternError(ValueError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


#: Return True if a value, or `MISSING`, passes the test.
Holds = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Test:
    holds: Holds
    cost: int = 1


def shown(value: Any) -> str:
    json_string = json.dumps(value)
    return json_string if len(json_string) <= MAX_SHOWN else f"{json_string[:MAX_SHOWN]}…"


def shown_value(value: Any) -> str:
    """Return an event's value for a sentence. It may be huge, so only a part is serialized."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        entries = [each for each in value[:MAX_SHOWN] if not isinstance(each, dict | list)]
        return shown([_begin(each) for each in entries]) if entries else f"a list of {len(value):,}"
    return shown(_begin(value))


def _begin(value: Any) -> Any:
    return value[: MAX_SHOWN + 1] if isinstance(value, str) else value


#: An operator with its validated operand.
ReadRule = tuple[str, Any]
_EQUALS = "equals"


def read_rule(path: str, given: Any) -> ReadRule:
    if isinstance(given, list):
        raise PatternError(path, 'It must be a value, or a rule such as {"prefix": "a"}.')
    if not isinstance(given, dict):
        return _EQUALS, given
    if len(given) != 1:
        raise PatternError(path, f"A rule has exactly one operator; known operators are {', '.join(_OPERATORS)}.")
    ((operator, operand),) = given.items()
    read = _OPERATORS.get(operator)
    if read is None:
        raise PatternError(
            path, f"The operator {shown(operator)} is unknown; known operators are {', '.join(_OPERATORS)}."
        )
    return operator, read(f"{path}.{operator}", operand)


def make_tests(rules: Iterable[ReadRule]) -> tuple[Test, ...]:
    """Return the tests of one field: one for all values, one for all prefixes, one for all suffixes, and so on."""
    operands: dict[str, list[Any]] = {}
    for operator, operand in rules:
        operands.setdefault(operator, []).append(operand)
    tests: list[Test] = []
    for operator, given in operands.items():
        if operator in _TOGETHER:
            tests.append(_TOGETHER[operator](given))
        elif operator == "exists" and True in given:
            tests.append(Test(_is_present))
        elif operator == "anything-but":
            tests += map(_none_of, given)
        elif operator == "numeric":
            tests += map(_within, given)
    return tuple(tests)


def other_types(rules: Iterable[ReadRule]) -> tuple[Test, ...]:
    """Return a test that holds for values of no type that the rules compare; none if they only test presence."""
    types = {each for operator, operand in rules for each in _compared_types(operator, operand)}
    return (Test(lambda value: type(value) not in types),) if types else ()


def _compared_types(operator: str, operand: Any) -> Iterable[type]:
    if operator == "anything-but":
        operator, operands = operand
        return {each for one in operands for each in _compared_types(operator, one)}
    if operator == "exists":
        return ()
    if operator in ("prefix", "suffix", "cidr"):
        return (str,)
    if operator == "numeric" or type(operand) in _NUMBERS:
        return _NUMBERS
    return (type(operand),)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


#: Exact types: a boolean is an instance of `int`, too.
_NUMBERS = frozenset((int, float))
_HASHABLE = _NUMBERS | {str}


def _one_of(wanted: Sequence[Any]) -> Test:
    constants = [each for each in wanted if each is None or isinstance(each, bool)]
    others = frozenset(each for each in wanted if each is not None and not isinstance(each, bool))

    def holds(value: Any) -> bool:
        # True equals 1, so booleans are compared by identity.
        if type(value) in _HASHABLE:
            return value in others
        # A loop, because `any` would create a generator per value.
        for each in constants:  # noqa: SIM110
            if value is each:
                return True
        return False

    # Clients can choose numbers with equal hashes, which a lookup compares one by one.
    same_hash = max(Counter(map(hash, others)).values(), default=1)
    return Test(holds, same_hash + len(set(constants)))


def _begins(strings: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that checks for any of the prefixes in one binary search."""
    first: list[str] = []
    for string in sorted(strings):
        # Drop prefixes that begin with a shorter one: then only the nearest prefix below a value can match.
        if not first or not string.startswith(first[-1]):
            first.append(string)

    def begins(value: str) -> bool:
        position = bisect_right(first, value)
        return position > 0 and value.startswith(first[position - 1])

    return begins


def _prefixes(strings: Sequence[str]) -> Test:
    begins = _begins(strings)
    return Test(lambda value: isinstance(value, str) and begins(value), 1 + len(strings).bit_length())


def _suffixes(strings: Sequence[str]) -> Test:
    begins = _begins(string[::-1] for string in strings)
    longest = max(map(len, strings))
    # Reverse only the end of a value, so that a long value costs no more than the longest suffix.
    return Test(
        lambda value: isinstance(value, str) and begins(value[-longest:][::-1]),
        2 + len(strings).bit_length() + longest // 256,
    )


def _none_of(excluded: ReadRule) -> Test:
    operator, operands = excluded
    test = _TOGETHER[operator](operands)
    return Test(lambda value: not test.holds(value), test.cost)


def _within(bounds: Sequence[tuple[Callable[[Any, Any], bool], Any]]) -> Test:
    def holds(value: Any) -> bool:
        if type(value) not in _NUMBERS:
            return False
        # A loop, because `all` would create a generator per value.
        for compare, bound in bounds:  # noqa: SIM110
            if not compare(value, bound):
                return False
        return True

    return Test(holds, len(bounds))


def _is_present(value: Any) -> bool:
    return value is not MISSING


def _inside(networks: Sequence[Any]) -> Test:
    def holds(value: Any) -> bool:
        if not isinstance(value, str) or len(value) > _MAX_ADDRESS_CHARS:
            return False
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return Test(holds, _ADDRESS_COST + _NETWORK_COST * len(networks))


#: Operators with a shared test for all their rules on a field.
_TOGETHER: dict[str, Callable[[Sequence[Any]], Test]] = {
    _EQUALS: _one_of,
    "prefix": _prefixes,
    "suffix": _suffixes,
    "cidr": _inside,
}


def _string(path: str, operand: Any) -> str:
    if not isinstance(operand, str) or not operand:
        raise PatternError(path, "It must be a string.")
    return operand


def _anything_but(path: str, operand: Any) -> ReadRule:
    if isinstance(operand, dict):
        if not set(operand) <= {"prefix", "suffix"}:
            raise PatternError(path, "It must be a value, a list of values, or a rule of prefix or suffix.")
        operator, string = read_rule(path, operand)
        return operator, [string]
    values = operand if isinstance(operand, list) else [operand]
    if not values or any(isinstance(each, list | dict) for each in values):
        raise PatternError(path, "It must be a value, a list of values, or a rule of prefix or suffix.")
    if len(values) > MAX_RULES:
        raise PatternError(path, f"There are too many values; at most {MAX_RULES} are accepted.")
    return _EQUALS, values


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def _numeric(path: str, operand: Any) -> list[tuple[Callable[[Any, Any], bool], Any]]:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise PatternError(path, 'It must be a list such as [">", 0, "<=", 5].')
    for operator, bound in zip(operand[::2], operand[1::2], strict=True):
        if not isinstance(operator, str) or operator not in _COMPARISONS:
            raise PatternError(
                path, f"The comparison {shown(operator)} is unknown; known comparisons are {' '.join(_COMPARISONS)}."
            )
        if not _is_number(bound):
            raise PatternError(path, f"{shown(bound)} is not a number.")
    return [(_COMPARISONS[each], bound) for each, bound in zip(operand[::2], operand[1::2], strict=True)]


def _exists(path: str, operand: Any) -> bool:
    if not isinstance(operand, bool):
        raise PatternError(path, "It must be true or false.")
    return operand


def _cidr(path: str, operand: Any) -> Any:
    try:
        return ipaddress.ip_network(_string(path, operand), strict=False)
    except ValueError:
        raise PatternError(path, "It must be a network such as 10.0.0.0/24.") from None


#: Each returns its validated operand.
_OPERATORS: dict[str, Callable[[str, Any], Any]] = {
    "prefix": _string,
    "suffix": _string,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
    "cidr": _cidr,
}
