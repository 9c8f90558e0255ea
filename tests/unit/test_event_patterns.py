"""Patterns over events, and templates of inputs: what matches, what is made, and what is refused when it is saved."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ava.domain.access.actor import Actor
from ava.domain.approval_rule import ApprovalRule
from ava.domain.events.event import EventSpec, InboundEvent
from ava.domain.events.hook import BodyTooLarge, read_body, unpacked
from ava.domain.events.pattern_rules import PatternError
from ava.domain.events.patterns import MAX_COMPARISONS, MAX_LEVELS, Comparisons, TooManyComparisons, compile_pattern
from ava.domain.events.subscription import Subscription, SubscriptionIndex, is_event_type, matches_type
from ava.domain.events.templates import TemplateError, compile_template

EVENT: dict[str, Any] = {
    "type": "github.pull_request.opened",
    "subject": None,
    "headers": {"x-github-event": "pull_request"},
    "data": {
        "number": 7,
        "price": 3.5,
        "draft": False,
        "title": "Fix it",
        "ip": "10.1.2.3",
        "labels": [{"name": "bug", "open": True}, {"name": "ui", "open": False}],
        "tags": ["a", "b"],
        "empty": [],
        "nothing": None,
    },
}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({}, True),
        ({"type": ["github.pull_request.opened"]}, True),
        ({"type": ["github.push", {"prefix": "github.pull_"}]}, True),
        ({"type": [{"suffix": ".opened"}]}, True),
        ({"type": [{"suffix": ".closed"}]}, False),
        ({"subject": [None]}, True),
        ({"data": {"nothing": [None]}}, True),
        ({"data": {"missing": [None]}}, False),
        ({"data": {"number": [7]}}, True),
        ({"data": {"number": [7.0]}}, True),
        ({"data": {"number": ["7"]}}, False),
        ({"data": {"number": [True]}}, False),
        ({"data": {"draft": [False]}}, True),
        ({"data": {"draft": [0]}}, False),
        ({"data": {"number": [{"numeric": [">", 5]}]}}, True),
        ({"data": {"price": [{"numeric": [">", 3, "<=", 3.5]}]}}, True),
        ({"data": {"price": [{"numeric": [">", 3, "<", 3.5]}]}}, False),
        ({"data": {"draft": [{"numeric": ["=", 0]}]}}, False),
        ({"data": {"title": [{"anything-but": ["Fix it", "WIP"]}]}}, False),
        ({"data": {"title": [{"anything-but": "WIP"}]}}, True),
        ({"data": {"title": [{"anything-but": {"prefix": "WIP"}}]}}, True),
        ({"data": {"title": [{"anything-but": {"prefix": "Fix"}}]}}, False),
        ({"data": {"missing": [{"anything-but": "WIP"}]}}, False),
        ({"data": {"missing": [{"exists": False}]}}, True),
        ({"data": {"title": [{"exists": False}]}}, False),
        ({"data": {"title": [{"exists": True}]}}, True),
        ({"data": {"missing": [{"exists": False}, "x"]}}, True),
        ({"data": {"ip": [{"cidr": "10.1.0.0/16"}]}}, True),
        ({"data": {"ip": [{"cidr": "10.2.0.0/16"}]}}, False),
        ({"data": {"title": [{"cidr": "10.2.0.0/16"}]}}, False),
        ({"data": {"tags": ["b"]}}, True),
        ({"data": {"tags": ["c"]}}, False),
        ({"data": {"labels": {"name": ["bug"], "open": [True]}}}, True),
        # Of a list one entry must match as a whole.
        ({"data": {"labels": {"name": ["bug"], "open": [False]}}}, False),
        ({"data": {"empty": {"name": ["bug"]}}}, False),
        ({"headers": {"x-github-event": ["pull_request"]}}, True),
        ({"data": {"title": {"deeper": ["x"]}}}, False),
        ({"data": {"title": {"deeper": [{"exists": False}]}}}, True),
    ],
)
def test_a_pattern_matches_as_eventbridge_does(pattern: Any, matches: bool) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.matches(EVENT) is matches
    assert (compiled.reason(EVENT) is None) is matches


_ABOVE_100 = [{"numeric": [">", 100]}]


@pytest.mark.parametrize(
    ("pattern", "job_input", "of_an_approval", "of_an_event"),
    [
        *(
            ({"n": _ABOVE_100}, {"n": value}, True, False)
            for value in ("500", True, None, {"x": 500}, [[500]], [5, "500"])
        ),
        *(({"n": _ABOVE_100}, job_input, False, False) for job_input in ({"n": 5}, {"n": [5.0, 6]}, {"n": []}, {})),
        ({"n": _ABOVE_100, "to": ["KP"]}, {"n": "500", "to": "CH"}, False, False),
        ({"n": [*_ABOVE_100, "all"]}, {"n": "some"}, False, False),
        ({"n": [*_ABOVE_100, "all"]}, {"n": False}, True, False),
        ({"dry_run": [False]}, {"dry_run": 0}, True, False),
        ({"dry_run": [False]}, {"dry_run": True}, False, False),
        ({"n": [7]}, {"n": 8.5}, False, False),
        ({"to": [{"prefix": "K"}]}, {"to": 7}, True, False),
        ({"to": [{"suffix": "P"}]}, {"to": "CH"}, False, False),
        ({"ip": [{"cidr": "10.0.0.0/8"}]}, {"ip": 167_772_161}, True, False),
        ({"to": [{"anything-but": ["CH"]}]}, {"to": "CH"}, False, False),
        ({"to": [{"anything-but": ["CH"]}]}, {"to": 7}, True, True),
        ({"to": [{"exists": False}]}, {"to": 7}, False, False),
        ({"to": {"country": ["KP"]}}, {"to": "KP"}, True, False),
        ({"to": {"country": ["KP"]}}, {"to": [{"country": "CH"}, "KP"]}, True, False),
        ({"to": {"country": ["KP"]}}, {"to": [{"country": "CH"}]}, False, False),
        *(({"to": {"country": ["KP"]}}, job_input, False, False) for job_input in ({}, {"to": {}}, {"to": []})),
    ],
)
def test_a_value_of_another_type_matches_for_an_approval_and_a_missing_one_does_not(
    pattern: Any, job_input: Any, of_an_approval: bool, of_an_event: bool
) -> None:
    assert ApprovalRule.of({"title": "Refund?", "when": pattern}).applies(job_input) is of_an_approval
    assert compile_pattern(pattern).matches(job_input) is of_an_event


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ({"data": {"draft": [True]}}, "data.draft: false does not match [true]"),
        ({"data": {"missing": ["x"]}}, 'data.missing: it is missing, and must match ["x"]'),
        ({"data": {"labels": {"name": ["z"]}}}, 'data.labels.name: "ui" does not match ["z"]'),
        ({"data": {"empty": {"name": ["z"]}}}, "data.empty: the list has no entry that matches"),
    ],
)
def test_the_reason_names_the_path_that_does_not_match(pattern: Any, reason: str) -> None:
    assert compile_pattern(pattern).reason(EVENT) == reason


def nested(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = {"a": inner}
    return inner


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ([], ""),
        ("x", ""),
        ({"data": "x"}, "data"),
        ({"data": {"a": 1}}, "data.a"),
        ({"data": {}}, "data"),
        ({"data": {"a": []}}, "data.a"),
        ({"data": {"a": [[1]]}}, "data.a[0]"),
        ({"data": {"a": ["x", {"regex": ".*"}]}}, "data.a[1]"),
        ({"data": {"a": [{"prefix": "x", "suffix": "y"}]}}, "data.a[0]"),
        ({"data": {"a": [{}]}}, "data.a[0]"),
        ({"data": {"a": [{"prefix": 1}]}}, "data.a[0].prefix"),
        ({"data": {"a": [{"numeric": [">"]}]}}, "data.a[0].numeric"),
        ({"data": {"a": [{"numeric": ["!", 1]}]}}, "data.a[0].numeric"),
        ({"data": {"a": [{"numeric": [">", True]}]}}, "data.a[0].numeric"),
        ({"data": {"a": [{"numeric": [["x"], 1]}]}}, "data.a[0].numeric"),
        ({"data": {"a": [{"exists": "yes"}]}}, "data.a[0].exists"),
        ({"data": {"a": [{"cidr": "10.0.0.0/99"}]}}, "data.a[0].cidr"),
        ({"data": {"a": [{"anything-but": {"numeric": 1}}]}}, "data.a[0].anything-but"),
        ({"data": {"a": [{"anything-but": []}]}}, "data.a[0].anything-but"),
        ({"$or": [{"a": ["b"]}]}, "$or"),
        (nested(MAX_LEVELS + 1, ["x"]), ".".join("a" * MAX_LEVELS)),
        ({"data": {"a": ["x"] * 101}}, "data.a"),
    ],
)
def test_a_wrong_pattern_is_refused_with_its_path(pattern: Any, path: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert caught.value.path == path


def test_a_pattern_may_be_twenty_levels_deep() -> None:
    assert compile_pattern(nested(MAX_LEVELS, ["x"])).matches(nested(MAX_LEVELS, "x"))


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=20,
)


@given(pattern=_JSON, event=st.dictionaries(st.text(max_size=3), _JSON, max_size=4))
def test_any_json_is_a_pattern_and_a_template_or_refused_and_never_an_error(
    pattern: Any, event: dict[str, Any]
) -> None:
    with suppress(PatternError):
        compile_pattern(pattern).reason(event)
    with suppress(TemplateError):
        json.loads(compile_template(pattern).fill(event, max_bytes=10_000))


def _holds(rule: Any, value: Any) -> bool:
    """The rules one by one, as the docs word them."""
    match rule:
        case {"prefix": string}:
            return isinstance(value, str) and value.startswith(string)
        case {"suffix": string}:
            return isinstance(value, str) and value.endswith(string)
        case {"anything-but": {} as inner}:
            return not _holds(inner, value)
        case {"anything-but": values}:
            return not any(_holds(each, value) for each in values)
        case {"numeric": ["<", bound]}:
            return not isinstance(value, str | bool | None) and value < bound
    return type(value) is type(rule) and bool(value == rule)


_SHORT = st.text("ab", max_size=4)
_VALUE = st.one_of(st.sampled_from([None, True, False, 0, 1, 2**61 - 1]), _SHORT)
_RULE = st.one_of(
    _VALUE,
    *(
        st.builds(lambda string, name=name: {name: string}, st.text("ab", min_size=1, max_size=3))
        for name in ("prefix", "suffix")
    ),
    st.builds(lambda values: {"anything-but": values}, st.lists(_VALUE, min_size=1, max_size=3)),
    st.builds(lambda string: {"anything-but": {"prefix": string}}, st.text("ab", min_size=1, max_size=2)),
    st.builds(lambda bound: {"numeric": ["<", bound]}, st.integers(-1, 3)),
)


@given(rules=st.lists(_RULE, min_size=1, max_size=12), values=st.lists(_VALUE, min_size=1, max_size=5))
def test_rules_that_are_tested_together_hold_as_one_by_one(rules: list[Any], values: list[Any]) -> None:
    expected = any(_holds(rule, value) for rule in rules for value in values)
    assert compile_pattern({"data": rules}).matches({"data": values}) is expected


_HUNDRED = range(100)


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        ([f"x{n}" for n in _HUNDRED], "x"),
        (["x"], {}),
        ([n * (2**61 - 1) for n in _HUNDRED], 2**70),
        ([{"prefix": "p" * 500 + f"{n:02}"} for n in _HUNDRED], "p" * 500 + "9"),
        ([{"suffix": f"{n:02}" + "p" * 500} for n in _HUNDRED], "x" + "p" * 500),
        ([{"anything-but": [1, f"x{n}"]} for n in _HUNDRED], 1),
        ([{"numeric": [">", 10**400, "<=", n]} for n in _HUNDRED], 10**401),
        ([{"numeric": [">", 2]}], 1),
        ([{"cidr": f"10.{n}.0.0/16"} for n in _HUNDRED], "2001:db8:1:2:3:4:5:6"),
        ([{"cidr": "10.0.0.0/16"}], "." * 500_000),
    ],
    ids=lambda given: str(given)[:20],
)
def test_a_pattern_refuses_what_would_take_more_than_five_milliseconds(rules: list[Any], value: Any) -> None:
    pattern = compile_pattern({"data": {"a": rules}})
    # As many values as it takes, and one more.
    count = next(n for n in range(MAX_COMPARISONS, 0, -1) if not _is_refused(pattern, value, n))
    event = {"data": {"a": [value] * count}}
    assert min(_milliseconds(lambda: pattern.matches(event)) for _ in range(5)) < 5
    assert _is_refused(pattern, value, count + 1)


def _is_refused(pattern: Any, value: Any, count: int) -> bool:
    ((_, leaf),) = pattern._root.fields[0][1].fields
    return count * leaf.cost + 4 > MAX_COMPARISONS


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1000


@pytest.mark.parametrize(
    "data",
    [
        {"a": [{"b": [{"c": "y"}]}] * 100_000},
        {"a": [{"b": 0}] * 100_000},
        {"a": [0] * 100_000},
        {"a": [{"b": [{"c": ["y"] * 10_000}] * 100}] * 100},
    ],
    # The last value as a string would have 500 MB, in each tester.
    ids=["of objects", "of numbers", "no objects", "in lists in lists"],
)
def test_lists_of_objects_cost_little_before_they_are_refused(data: Any) -> None:
    pattern = compile_pattern({"data": {"a": {"b": {"c": ["x"]}}}})

    def refuse() -> None:
        with pytest.raises(TooManyComparisons, match="limit pattern_comparisons"):
            pattern.reason({"data": data})

    assert min(_milliseconds(refuse) for _ in range(5)) < 5


def test_a_hundred_values_of_a_field_are_one_comparison_of_each_entry() -> None:
    total = Comparisons()
    pattern = compile_pattern({"data": {"items": {"sku": [f"x{n}" for n in range(100)]}}})
    assert not pattern.matches({"data": {"items": [{"sku": "y"}] * 4_000}}, total)
    assert 16_000 <= total.count <= 16_010


@pytest.mark.parametrize("value", [["x" * 100] * 100_000, [{}] * 100_000, {"a": [0] * 100_000}, "x" * 1_000_000])
def test_a_reason_writes_the_beginning_of_a_huge_value_alone(value: Any) -> None:
    pattern = compile_pattern({"data": [{"exists": False}]})
    assert len(pattern.reason({"data": value}) or "") < 200
    assert min(_milliseconds(lambda: pattern.reason({"data": value})) for _ in range(5)) < 5


# Subscriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "type_", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a.*", "a", False),
        ("a.*", "a.", False),
        ("a.*", "ab.c", False),
        ("a.b.*", "a.b.c.d", True),
    ],
)
def test_a_last_star_stands_for_one_or_more_further_parts(event_type: str, type_: str, matches: bool) -> None:
    assert matches_type(event_type, type_) is matches
    assert bool(SubscriptionIndex([_subscription(event_type)]).candidates(type_)) is matches


def test_types_of_our_own_are_not_subscribed_to() -> None:
    assert is_event_type("a.*")
    assert is_event_type("avalanche.*")
    for wrong in ("", "*", ".*", "ava.*", "ava.job.*", "ava.job.completed", "a b", "é", "a" * 201):
        assert not is_event_type(wrong) or wrong == "*", wrong


def test_subscriptions_are_found_by_exact_types_and_by_stars_in_the_order_of_their_ids() -> None:
    index = SubscriptionIndex(
        [_subscription("a.b.*", "sub_3"), _subscription("a.*", "sub_1"), _subscription("a.b.c", "sub_2"),
         _subscription("x", "sub_4"), _subscription("a.b.c", "sub_5", match={"data": ["no"]})]
    )  # fmt: skip
    candidates = index.candidates("a.b.c")
    assert [each.id for each in candidates] == ["sub_1", "sub_2", "sub_3", "sub_5"]
    assert [each.matches({"type": "a.b.c", "data": None}) for each in candidates] == [True, True, True, False]


def _subscription(event_type: str, id_: str = "sub_1", match: Any = None) -> Subscription:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Subscription(
        id=id_, tenant_id="ten_a", event_type=event_type, worker_id="wkr_a", priority=5, paused=None,
        created_by=Actor.parse("usr_a"), created_at=now, updated_at=now,
        match_json=None if match is None else json.dumps(match),
    )  # fmt: skip


# Bodies and records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1]", [1]),
        (b"", {"body": ""}),
        (b"command=%2Fdeploy", {"body": "command=%2Fdeploy"}),
        (b'{"a": 1, "a": 2}', {"body": '{"a": 1, "a": 2}'}),
        (b'{"a": NaN}', {"body": '{"a": NaN}'}),
        (b"1e999", {"body": "1e999"}),
        (b"[" * 600 + b"]" * 600, {"body": "[" * 600 + "]" * 600}),
        (b"\xff\xfe", {"base64": "//4="}),
        (b'"\\u0000\\ud800"', "\0\ud800"),
    ],
)
def test_a_body_that_is_no_json_is_a_string(body: bytes, data: Any) -> None:
    value, event_json = read_body(body)
    assert value == data
    assert json.loads(event_json) == data


def test_a_compressed_body_is_unpacked_up_to_a_size() -> None:
    packed = gzip.compress(b"x" * 10_000)
    assert unpacked(packed, "gzip", max_bytes=10_000) == b"x" * 10_000
    assert unpacked(b"plain", "gzip", max_bytes=10) == b"plain"
    assert unpacked(packed[:-9], "gzip", max_bytes=10_000) == packed[:-9]
    assert unpacked(b"plain", "", max_bytes=10) == b"plain"
    with pytest.raises(BodyTooLarge):
        unpacked(packed, "gzip", max_bytes=9_999)


def test_the_record_of_an_event_is_the_one_of_the_contract() -> None:
    spec = EventSpec(type="a", data_json="[1]", headers_json=None, source_id="1")
    event = InboundEvent(id="evt_1", tenant_id="ten_a", spec=spec, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert event.record() == {
        "id": "evt_1", "source_id": "1", "type": "a", "source": "/", "subject": None, "time": None, "data": [1],
        "extensions": {}, "headers": None, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
