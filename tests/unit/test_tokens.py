"""The form of tokens: a kind, the mark of a cell, a lookup in plain, a secret as a hash."""

from __future__ import annotations

import hmac
import re

import pytest

from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TokenKind.API_KEY, "ava"),
        (TokenKind.HOOK, "avahook"),
        (TokenKind.RUN, "avarun"),
        (TokenKind.LINK, "avalink"),
        (TokenKind.SESSION, "avases"),
    ],
)
def test_a_token_is_read_as_it_was_made_and_as_no_other_kind(kind: TokenKind, name: str) -> None:
    made = tokens.make(kind, "e1")
    assert re.fullmatch(rf"{name}_e1\.[A-Za-z0-9_-]{{16}}[A-Za-z0-9_-]{{43}}", made.encoded)
    assert tokens.parse(made.encoded, kind) == made
    assert all(tokens.parse(made.encoded, other) is None for other in TokenKind if other is not kind)
    assert made.secret not in repr(made)


def test_no_two_tokens_share_a_lookup_or_a_secret() -> None:
    made = [tokens.make(TokenKind.API_KEY, "00") for _ in range(1_000)]
    assert len({token.lookup for token in made}) == len({token.secret for token in made}) == 1_000


@pytest.mark.parametrize(
    "string",
    [
        "",
        "ava_",
        "ava_" + "x" * 43,
        "ava_00" + "x" * 59,
        "ava_00." + "x" * 58,
        "ava_00." + "x" * 60,
        "ava_00." + "x" * 58 + "=",
        "ava_00." + "x" * 58 + "é",
        "ava_00." + "x" * 59 + "\n",
        " ava_00." + "x" * 59,
        "AVA_00." + "x" * 59,
        "ava_0A." + "x" * 59,
        "ava_000." + "x" * 59,
        "avax_00." + "x" * 59,
    ],
)
def test_any_other_string_is_no_token(string: str) -> None:
    assert tokens.parse(string, TokenKind.API_KEY) is None


def test_a_hash_is_that_of_one_secret_and_of_one_key() -> None:
    token, other = (tokens.make(TokenKind.SESSION, "00") for _ in range(2))
    plain, keyed = tokens.hash_of(token), tokens.hash_of(token, "a shared key")
    assert tokens.is_hash_of(plain, token)
    assert not tokens.is_hash_of(plain, other)
    assert tokens.is_hash_of(keyed, token, ["another", "a shared key"])
    assert not tokens.is_hash_of(keyed, token, ["another"])
    assert not tokens.is_hash_of(keyed, token)


def test_an_unknown_lookup_is_compared_as_often_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = tokens.make(TokenKind.API_KEY, "00")
    assert tokens.is_hash_of(tokens.hash_of(token), token)
    assert not tokens.is_hash_of(None, token)
    assert compared == [32, 32]


@pytest.mark.parametrize("kind", TokenKind)
@pytest.mark.parametrize("end", ["", "/lines", "=", "x" * 9])
def test_a_token_in_a_string_ends_after_its_lookup(kind: TokenKind, end: str) -> None:
    made = tokens.make(kind, "e1")
    shown = tokens.without_secrets(f"/v1/{made.encoded}{end} and {made.encoded[:40]}")
    assert made.secret[:4] not in shown
    assert shown.count(f"{kind}_e1.{made.lookup}...") == 2
    assert tokens.without_secrets("/v1/ava/jobs/job_1") == "/v1/ava/jobs/job_1"
