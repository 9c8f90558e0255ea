"""Keys of patterns and events: a pattern that matches an event has one of its keys, whatever both contain."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ava.domain.events import awaited
from ava.domain.events.awaited import TooManyKeys, event_keys, pattern_key
from ava.domain.events.patterns import compile_pattern

_SCALARS: list[Any] = [None, True, False, 0, 1, 1.0, -0.0, 2**60, float(2**60), 0.1, "", "1", "true", "a", "ä\ud800"]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth < 3 and kind < 0.3:
        return {name: _value(rng, depth + 1) for name in rng.sample(["a", "b", "c.d"], 2)}
    if depth < 3 and kind < 0.5:
        return [_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return rng.choice(_SCALARS)


def _pattern(rng: random.Random, value: Any) -> Any:
    """Return a pattern that is likely to match a value."""
    if isinstance(value, list):
        value = rng.choice(value) if value else "none"
    if isinstance(value, dict):
        return {name: _pattern(rng, each) for name, each in value.items() if rng.random() < 0.8} or {"a": [1]}
    if isinstance(value, list):
        return [{"exists": True}]
    rules = [value, *rng.sample(_SCALARS, rng.choice([0, 0, 0, 1]))]
    return [{"exists": True}] if rng.random() < 0.1 else rules


def test_a_pattern_that_matches_an_event_has_one_of_its_keys() -> None:
    rng = random.Random(5)
    matched = exact = 0
    for _ in range(5_000):
        event = {"data": _value(rng), "type": rng.choice("ab")}
        pattern = _pattern(rng, event)
        if not compile_pattern(pattern).matches(event):
            continue
        matched += 1
        exact += pattern_key(pattern) != pattern_key(None)
        # As the journal and the table of events have them.
        pattern, event = json.loads(json.dumps(pattern)), json.loads(json.dumps(event))
        assert pattern_key(pattern) in event_keys(pattern, event), (pattern, event)
    assert matched > 1_000
    assert exact > 800


@pytest.mark.parametrize(
    ("pattern", "same", "others"),
    [
        ({"data": {"n": [1]}}, {"data": {"n": [1.0]}}, [{"data": {"n": [True]}}, {"data": {"n": ["1"]}}]),
        ({"data": {"n": [0]}}, {"data": {"n": [-0.0]}}, [{"data": {"n": [False]}}, {"data": {"n": [None]}}]),
        ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}, [{"a": [2], "b": [1]}, {"a": [1]}]),
        ({"a": {"b": [1]}}, {"a": {"b": [1], "c": [1, 2], "d": [{"prefix": "x"}]}}, [{"a.b": [1]}, {"a": [1]}]),
    ],
)
def test_the_key_has_the_paths_and_the_values_of_exact_fields(pattern: Any, same: Any, others: list[Any]) -> None:
    assert pattern_key(pattern) == pattern_key(same)
    assert len({pattern_key(each) for each in (pattern, *others)}) == 1 + len(others)


def test_keys_of_the_same_paths_are_a_range_and_no_other_is_in_it() -> None:
    key = pattern_key({"data": {"n": [1]}})
    first, last = awaited.first_key(key), awaited.last_key(key)
    assert all(first < pattern_key({"data": {"n": [n]}}) <= last for n in range(100))
    assert not any(first < pattern_key({"data": {f"m{n}": [1]}}) <= last for n in range(100))
    assert awaited.first_key(last) == awaited.first_key(first) == first


def test_an_event_has_a_key_for_each_combination_of_its_lists_up_to_a_bound() -> None:
    pattern = {"data": {"lines": {"sku": ["a"]}, "tags": ["x"]}}
    event = {"data": {"lines": [{"sku": f"s{n}"} for n in range(20)], "tags": ["x", "y", "x"]}}
    keys = event_keys(pattern, event)
    assert len(keys) == 40
    assert pattern_key({"data": {"lines": {"sku": ["s7"]}, "tags": ["y"]}}) in keys
    assert event_keys(pattern, {"data": {"tags": ["x"]}}) == set()
    event["data"]["lines"] = [{"sku": f"s{n}"} for n in range(101)]
    with pytest.raises(TooManyKeys):
        event_keys(pattern, event)
    event["data"]["lines"] = [{}] * 5_001
    with pytest.raises(TooManyKeys):
        event_keys(pattern, event)


def test_a_long_string_of_an_event_costs_no_hash_because_no_pattern_has_it() -> None:
    assert event_keys({"data": ["a"]}, {"data": "a" * 20_000}) == set()
