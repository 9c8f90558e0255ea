"""Which bodies of requests are accepted."""

from __future__ import annotations

import json

import pytest

from ava.api.http import body
from ava.errors import BadRequest


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
    times = (body.DEEPEST - 1) // levels
    deepest = b'{"x":' + opening * times + b"1" + closing * times + b"}"
    assert body.parse(deepest)
    with pytest.raises(BadRequest, match="nests too deep"):
        body.parse(b'{"x":' + opening * (times + 2) + b"1" + closing * (times + 2) + b"}")


def test_a_hundred_thousand_levels_are_refused_before_anything_recurses() -> None:
    with pytest.raises(BadRequest, match="nests too deep"):
        body.parse(b'{"x":' + b"[" * 100_000)


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    text = "[{" * 600 + '\\"' + "[" * 600
    assert body.parse(json.dumps({"x": text}).encode()) == {"x": text}


def test_many_flat_objects_do_not_count_as_nesting() -> None:
    assert len(body.parse(json.dumps({"x": [{}] * 5000}).encode())["x"]) == 5000


@pytest.mark.parametrize("value", ["\0", "\ud800", "\udfff x", "\U0001f600", "\u2028"])
def test_strange_characters_survive(value: str) -> None:
    assert body.parse(json.dumps({value: value}).encode()) == {value: value}


def test_integers_of_400_digits_survive() -> None:
    assert body.parse(b'{"a": ' + b"7" * 400 + b"}") == {"a": int("7" * 400)}
