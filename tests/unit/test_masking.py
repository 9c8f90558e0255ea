"""Secrets are found in the forms in which programs write them."""

from __future__ import annotations

import base64
import html
import json
import random
import time
from collections.abc import Callable
from string import ascii_letters
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, characters, lists, sampled_from, text

from ava.domain.limits.table import WORKER_SECRETS
from ava.domain.secrets.masking import SecretMask
from ava.node.runs.new_run import LastMask

SECRET = 'xoxb-12 34/+ä"\\tok'
MASK = SecretMask([SECRET, "short4", "12345678"])


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a longer beginning"])
@pytest.mark.parametrize("after", ["", "!", "!!", " and an end"])
def test_base64_of_a_string_that_holds_a_secret_is_masked(before: str, after: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(f"{before}{SECRET}{after}".encode()).decode()
        masked = MASK.string(encoded)
        assert "••••••" in masked
        # What is left of the secret is at most the bits of a character that it shares with what is beside it.
        assert len(masked.replace("••••••", "")) <= len(base64.b64encode(f"{before}{after}".encode())) + 8


@pytest.mark.parametrize(
    "encoded",
    [
        SECRET,
        json.dumps({"token": SECRET}),
        json.dumps({"token": SECRET}, ensure_ascii=False),
        repr(SECRET),
        repr(SECRET.encode()),
        f"https://example.com/?token={quote(SECRET)}&x=1",
        f"https://example.com/{quote(SECRET, safe='')}",
        SECRET.encode().hex(),
        "\n".join(["a", SECRET, "b"]),
    ],
)
def test_every_way_of_writing_a_secret_is_masked(encoded: str) -> None:
    masked = MASK.string(f"before {encoded} after")
    assert "••••••" in masked
    assert "xoxb" not in masked
    assert SECRET.encode().hex() not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


def _lines_of(string: str, characters: int) -> str:
    return "\n".join(string[start : start + characters] for start in range(0, len(string), characters))


@pytest.mark.parametrize(
    "encoded",
    [
        # `requests` escapes some characters of a URL, and leaves others as they are.
        f"https://example.com/?token={quote(SECRET, safe='/+')}&x=1",
        f"https://example.com/?token={quote_plus(SECRET, safe='/')}&x=1",
        json.dumps({"token": SECRET}).replace("/", "\\/"),
        json.dumps({"body": json.dumps({"token": SECRET})}),
        json.dumps(json.dumps(json.dumps([SECRET]))),
        json.dumps({"url": f"https://example.com/?{quote(quote(SECRET))}"}),
        html.escape(SECRET),
        ascii(SECRET),
        SECRET.replace('"', "&#x22;").replace("ä", "&auml;"),
        _lines_of(base64.b64encode(f"user:{SECRET}".encode()).decode(), 9),
        quote(base64.b64encode(f"u:{SECRET}".encode()).decode()),
        json.dumps(_lines_of(base64.urlsafe_b64encode(SECRET.encode()).decode(), 9)),
        SECRET.encode().hex(":"),
        SECRET.encode().hex(" ").upper(),
        _lines_of(SECRET.encode().hex(), 7),
    ],
)
def test_a_secret_is_masked_whichever_of_its_characters_are_escaped(encoded: str) -> None:
    masked = MASK.string(f"before {encoded} after")
    left = masked.removeprefix("before ").removesuffix(" after")
    assert "••••••" in left
    assert "34" not in left.replace("&#x22;", "")
    assert masked.startswith("before ")
    assert masked.endswith(" after")


_ENCODINGS: tuple[Callable[[str], str], ...] = (
    json.dumps,
    lambda string: json.dumps(string, ensure_ascii=False),
    quote,
    lambda string: quote(string, safe=""),
    html.escape,
)


@given(
    secret=text(alphabet=characters(exclude_categories=["Cs"]), min_size=6, max_size=80),
    encodings=lists(sampled_from(_ENCODINGS), max_size=3),
    is_base64=booleans(),
)
def test_any_secret_is_masked_in_up_to_three_encodings_of_each_other(
    secret: str, encodings: list[Callable[[str], str]], is_base64: bool
) -> None:
    written = base64.b64encode(secret.encode()).decode() if is_base64 else secret
    for encode in encodings:
        written = encode(written)
    assert "••••••" in SecretMask([secret]).string(f"it is {written}!")


def test_secrets_that_overlap_in_a_string_are_both_masked() -> None:
    assert SecretMask(["abcdefgh", "efghijkl"]).string("x abcdefghijkl y") == "x •••••• y"


def test_of_a_long_secret_that_is_cut_the_beginning_is_masked() -> None:
    secret = "".join(chr(97 + n % 23) + str(n) for n in range(2_000))
    assert SecretMask([secret]).string(f"x {secret} y") == "x •••••• y"
    assert secret[:64] not in SecretMask([secret]).string(f"x {secret[:1000]} y")


def test_a_string_with_lone_surrogates_is_masked() -> None:
    assert SecretMask(["abcdefgh"]).string("\udcff abcdefgh") == "\udcff ••••••"


def test_a_mask_of_the_most_and_longest_secrets_is_small_and_made_at_once() -> None:
    generator = random.Random(7)
    secrets = ["".join(generator.choices(ascii_letters, k=8_192)) for _ in range(WORKER_SECRETS.value)]
    began = time.process_time()
    mask = SecretMask(secrets)
    # The regular expression that this replaces took 0.7 s for one of them.
    assert time.process_time() - began < 0.7
    assert mask.string(f"a {secrets[-1]} b") == "a •••••• b"


def test_each_line_of_a_key_of_several_lines_is_masked() -> None:
    key = "-----BEGIN-----\nMIIabcdefghijklmnop\nijklmnopqrsijklmnop\n"
    assert SecretMask([key]).string("it is MIIabcdefghijklmnop") == "it is ••••••"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert SecretMask(["token", "token-of-mine"]).string("a token-of-mine") == "a ••••••"


def test_json_values_are_masked_and_stay_json() -> None:
    value = {"short4": [1, 1.5, True, None, "x short4 y"], "n": 12345678, "in": {"a": SECRET}}
    assert MASK.value(value) == {"••••••": [1, 1.5, True, None, "x •••••• y"], "n": "••••••", "in": {"a": "••••••"}}


def test_without_secrets_nothing_changes() -> None:
    assert SecretMask([]).string("anything") == "anything"


def test_a_mask_serves_again_until_a_run_with_other_secrets_comes() -> None:
    last = LastMask()
    first = last.of(["a secret"])
    assert last.of(["a secret"]) is first
    assert last.of([]) is None
    assert last.of(["a secret"]) is not first
