"""Secrets are found in the forms in which programs write them."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from ava.domain.masking import SecretMask

SECRET = 'xoxb-12 34/+ä"\\tok'
MASK = SecretMask([SECRET, "short4", "12345678"])


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a longer beginning"])
@pytest.mark.parametrize("after", ["", "!", "!!", " and an end"])
def test_base64_of_a_text_that_holds_a_secret_is_masked(before: str, after: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(f"{before}{SECRET}{after}".encode()).decode()
        masked = MASK.text(text)
        assert "••••••" in masked
        # What is left of the secret is at most the bits of a character that it shares with what is beside it.
        assert len(masked.replace("••••••", "")) <= len(base64.b64encode(f"{before}{after}".encode())) + 8


@pytest.mark.parametrize(
    "text",
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
def test_every_way_of_writing_a_secret_is_masked(text: str) -> None:
    masked = MASK.text(f"before {text} after")
    assert "••••••" in masked
    assert "xoxb" not in masked
    assert SECRET.encode().hex() not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


def test_each_line_of_a_key_of_several_lines_is_masked() -> None:
    key = "-----BEGIN-----\nMIIabcdefgh\nijklmnopqrs\n"
    assert SecretMask([key]).text("it is MIIabcdefgh") == "it is ••••••"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert SecretMask(["token", "token-of-mine"]).text("a token-of-mine") == "a ••••••"


def test_json_values_are_masked_and_stay_json() -> None:
    value = {"short4": [1, 1.5, True, None, "x short4 y"], "n": 12345678, "in": {"a": SECRET}}
    assert MASK.value(value) == {
        "••••••": [1, 1.5, True, None, "x •••••• y"],
        "n": "••••••",
        "in": {"a": "••••••"},
    }


def test_without_secrets_nothing_changes() -> None:
    assert SecretMask([]).text("anything") == "anything"
