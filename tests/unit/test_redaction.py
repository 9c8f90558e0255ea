"""Which values of an input are not shown, judged by the names of their keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ava.domain.secrets.redaction import HIDDEN, NAMES, redact

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "Cookie", "set_cookie", "password", "DB_PASSWORD", "passphrase"),
        *("x-internal-secret", "client_secret", "token", "accessToken", "SLACK_TOKEN", "X-API-Key", "apiKey", "APIKey"),
        *("aws_secret_access_key", "private key", "credentials"),
    ],
)
def test_the_value_of_a_key_for_a_credential_is_hidden(name: str) -> None:
    for value in ("s3cret", 5, ["s3cret"], {"inner": "s3cret"}):
        assert redact({"headers": [{name: value}]}) == {"headers": [{name: HIDDEN}]}
    for value in (None, True, False):
        assert redact({name: value}) == {name: value}


@pytest.mark.parametrize("name", ["tokens", "max_tokens", "token_count", "keyboard", "author", "key", "cookies", ""])
def test_other_keys_stay(name: str) -> None:
    value = {name: "shown", "list": [1, 2.5, None, "token"]}
    assert redact(value) == value


def test_a_header_that_is_an_object_of_name_and_value_is_hidden() -> None:
    pairs = [{"name": "Authorization", "value": "s3cret"}, {"name": "Accept", "value": "shown"}]
    assert redact(pairs) == [{"name": "Authorization", "value": HIDDEN}, {"name": "Accept", "value": "shown"}]


def test_the_docs_list_the_names() -> None:
    (listed,) = re.findall(r"end with one of these words: (.*?)\.", DOCS.read_text().replace("\n", " "))
    assert tuple(listed.replace("`", "").split(", ")) == NAMES
