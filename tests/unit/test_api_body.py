"""Which bodies of requests are accepted."""

from __future__ import annotations

import json
import re
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from ava.api.http import body
from ava.api.schemas.bulk_jobs import BulkBody
from ava.api.schemas.jobs import TriggerBody
from ava.domain import client_json
from ava.errors import BadRequest, PayloadTooLarge


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "a": 2}', '"a" twice'),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', '"a" twice'),
        (b'{"a": "\xff"}', "not UTF-8: byte 7"),
        ('{"a": "é"}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": "line\nend"}', "not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused_with_its_reason(raw: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said.replace("(", r"\(")):
        body.parse(raw)


@pytest.mark.parametrize("opening", [b'{"a":', b"[", b'{"a":['])
def test_nesting_is_refused_just_above_its_limit(opening: bytes) -> None:
    levels = opening.count(b"{") + opening.count(b"[")
    closing = opening.replace(b'"a":', b"").translate(bytes.maketrans(b"{[", b"}]"))[::-1]
    times = (client_json.MAX_LEVELS - 1) // levels
    deepest = b'{"x":' + opening * times + b"1" + closing * times + b"}"
    assert body.parse(deepest)
    with pytest.raises(BadRequest, match="nests too deep"):
        body.parse(b'{"x":' + opening * (times + 2) + b"1" + closing * (times + 2) + b"}")


_LARGE = b" " * 2**18


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": [1, -0, 1.5e3, 10000000000000000000000, "\\u00e9\\ud83d\\ude00", true, null, {}, [], ""]}',
        *(
            b'{"a": NaN}',
            b'{"a": 1, "a": 2}',
            b'{"a": 1,}',
            b"{} {}",
            b'{"a": "line\nend"}',
            b'{"a": [1 2]}',
            b'{"a" 1}',
        ),
        *(b'{"a": ' + b"9" * 5000 + b"}", b"{", b'{"a": "', b'{"a": [1,'),
    ],
)
def test_a_large_body_is_decoded_as_a_small_one_with_the_same_error(raw: bytes) -> None:
    found = []
    for string in (raw, raw + _LARGE):
        try:
            found.append(client_json.decode([string]))
        except BadRequest as error:
            # The end of the text is elsewhere.
            found.append(str(error).partition(" at line")[0])
    assert found[0] == found[1]


def test_a_large_body_may_nest_as_deep_as_a_small_one_in_any_process() -> None:
    deep = b'{"a":' * 499 + b"1" + b"}" * 499
    assert client_json.decode([deep, _LARGE]) == client_json.decode([deep])


# Between two objects Python's C code calls the hook that looks for repeated names, so other threads run anyway.
@pytest.mark.parametrize("value", [b"1e7,", b'"[{,:\\"",'])
def test_other_threads_run_while_a_large_body_is_decoded(value: bytes) -> None:
    turns, has_ended = 0, threading.Event()

    def turn() -> None:
        nonlocal turns
        while not has_ended.is_set():
            turns += 1
            time.sleep(0)

    body = b"[" + value * 500_000 + b"0]"
    thread = threading.Thread(target=turn)
    thread.start()
    interval = sys.getswitchinterval()
    # The API's own. C code holds the interpreter until its end, however short it is.
    sys.setswitchinterval(0.0005)
    try:
        turns = 0
        client_json.decode([body])
        found = turns
    finally:
        sys.setswitchinterval(interval)
        has_ended.set()
        thread.join()
    assert found > 50


def test_a_hundred_thousand_levels_are_refused_before_anything_recurses() -> None:
    with pytest.raises(BadRequest, match="nests too deep"):
        body.parse(b'{"x":' + b"[" * 100_000)


# What a body may cost ------------------------------------------------------------------------------------------------

_MIB = 2**20


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        (b'{"x":[' + b"[]," * (5 * _MIB) + b"1]}", "body_parts"),
        (b'{"x":[' + b"{}," * 200_000 + b"1]}", "body_parts"),
        (b"{" + b",".join(b'"%d":1' % number for number in range(200_001)) + b"}", "body_parts"),
        (b'{"x":[' + b"0," * (2 * _MIB) + b"1]}", "body_values"),
        (b'{"x":[' + b'"",' * (2 * _MIB) + b"1]}", "body_values"),
        (b'{"x":[' + b'"[,:\\",",' * _MIB + b"1]}", "body_values"),
    ],
)
def test_a_body_of_too_many_parts_is_refused_before_it_is_parsed(
    raw: bytes, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_json, "_decoder", None)
    with pytest.raises(PayloadTooLarge, match=rf"\(limit {limit}\)$"):
        body.parse(raw)


def test_what_is_inside_strings_is_no_part_and_no_value() -> None:
    string = '[{,:"\\' * 300_000
    assert body.parse(json.dumps({"x": string, "y": [string]}).encode()) == {"x": string, "y": [string]}


@given(value=st.recursive(st.text('a"\\[{,:') | st.integers(), st.lists), size=st.integers(1, 9))
def test_what_is_outside_strings_is_the_same_however_the_body_is_cut(value: object, size: int) -> None:
    raw = json.dumps([value]).encode()
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw)
    pieces = [raw[index : index + size] for index in range(0, len(raw), size)]
    assert b"".join(map(client_json.Structure().outside_strings, pieces)) == outside


@pytest.mark.parametrize("raw", [b'{"x":[' + b"0," * 999_998 + b"1]}", b'{"x":[' + b"[]," * 199_997 + b"1]}"])
def test_a_body_at_its_limits_is_parsed(raw: bytes) -> None:
    assert len(body.parse(raw)["x"]) > 199_000


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Returns the entries of bulks that are validated."""
    seen: list[object] = []
    load = TriggerBody.load

    def record(self: TriggerBody, data: object, **options: object) -> object:
        seen.append(data)
        return load(self, data, **options)

    monkeypatch.setattr(TriggerBody, "load", record)
    return seen


def test_a_bulk_of_too_many_entries_is_refused_before_any_is_validated(validated: list[object]) -> None:
    with pytest.raises(ValidationError, match=r"There must be 1 to 1000 entries. \(limit bulk_jobs\)"):
        BulkBody().load({"jobs": [0] * 100_000})
    assert validated == []


def test_the_validation_of_a_bulk_stops_after_20_wrong_entries(validated: list[object]) -> None:
    with pytest.raises(ValidationError) as refused:
        BulkBody().load({"jobs": [0] * 1_000})
    assert len(refused.value.messages["jobs"]) == len(validated) == 20  # type: ignore[index]


def test_of_a_hundred_thousand_unknown_fields_twenty_are_looked_at() -> None:
    with pytest.raises(ValidationError) as refused:
        TriggerBody().load({"worker_id": "wkr_x"} | {f"x{number}": 1 for number in range(100_000)})
    assert len(refused.value.messages) == 20


@pytest.mark.parametrize("character", ["x", "\\\\", '\\"', "\\n", "\\u00e9", "é", "\U0001f600"])
def test_a_string_that_no_input_can_have_is_refused_before_it_is_decoded(character: str) -> None:
    def add(bytes_: int) -> None:
        structure = client_json.Structure()
        size = len(json.loads(f'"{character}"').encode())
        raw = f'{{"jobs":["{character * (bytes_ // size)}"]}}'.encode()
        for start in range(0, len(raw), 2**16):
            structure.add([raw[start : start + 2**16]])

    add(2**20)
    with pytest.raises(PayloadTooLarge, match="a string of too many bytes"):
        # The bytes of an escape are counted as one at least.
        add(2**20 * (3 if character == "\\u00e9" else 1) + 2**18)
