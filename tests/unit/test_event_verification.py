"""Requests to hooks are verified as the providers sign them, by the vectors that they publish."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from ava.domain.events.hook import Received
from ava.domain.events.verification import (
    check_secret,
    dedupe_keys,
    derived_type,
    handshake_response,
    sender_id,
    sign,
    verify,
)
from ava.domain.events.verifiers import PROVIDERS, DedupeBy, Provider, RowError, Verifier, read_row, row_of

#: docs.github.com, "Validating webhook deliveries", testing the webhook payload validation.
GITHUB = (
    Provider.GITHUB,
    "It's a Secret to Everybody",
    {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
    b"Hello, World!",
    0,
)
#: docs.slack.dev, "Verifying requests from Slack", the walk-through.
SLACK = (
    Provider.SLACK,
    "8f742231b10e8888abcd99yyyzzz85a5",
    {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.co"
    b"m%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a"
    b"14d10d2c447fce8b6703c",
    1531420618,
)
#: The tests of the libraries of Standard Webhooks.
STANDARD = (
    Provider.STANDARD,
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    b'{"test": 2432232314}',
    1614265330,
)
#: A signature that openssl made: `printf '12345.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test_secret`.
STRIPE = (
    Provider.STRIPE,
    "whsec_test_secret",
    {
        "stripe-signature": "t=12345,v1=b99ec5f59dd69a44f5bcfd252ab7bc3d1bd191bd61c9b9ea85139b856a73bc6f,"
        "v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    },
    b'{"id":"evt_1"}',
    12345,
)
#: `openssl dgst -sha256 -hmac test-webhook-secret -binary | base64` of an order.
SHOPIFY = (
    Provider.SHOPIFY,
    "test-webhook-secret",
    {"x-shopify-hmac-sha256": "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="},
    b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}',
    0,
)
_HEADERS = [
    "x-hub-signature-256", "stripe-signature", "x-slack-signature", "x-slack-request-timestamp", "webhook-id",
    "webhook-timestamp", "webhook-signature", "x-shopify-hmac-sha256",
]  # fmt: skip
VECTORS = [GITHUB, SLACK, STANDARD, STRIPE, SHOPIFY]
Vector = tuple[Provider, str, dict[str, str], bytes, int]


def _fault(
    vector: Vector, *, secrets: list[str] | None = None, now: float | None = None, **changed: object
) -> str | None:
    provider, secret, headers, body, at = vector
    request = Received(**{"headers": headers, "body": body, **changed})  # type: ignore[arg-type]
    now = at if now is None else now
    return verify(PROVIDERS[provider], secrets or [secret], request, now=now, tolerance_seconds=300)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0].value)
def test_the_published_vector_of_a_provider_is_genuine_with_any_of_several_secrets(vector: Vector) -> None:
    assert _fault(vector) is None
    assert _fault(vector, secrets=["another-secret-of-ours", vector[1]]) is None
    assert "signature is wrong" in (_fault(vector, secrets=["another-secret-of-ours"]) or "")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0].value)
def test_a_flipped_bit_in_any_byte_of_the_signed_text_or_of_the_signature_is_refused(vector: Vector) -> None:
    provider, _, headers, body, _ = vector
    for position in range(len(body)):
        for bit in range(8):
            changed = bytearray(body)
            changed[position] ^= 1 << bit
            assert _fault(vector, body=bytes(changed)) is not None
    for name in headers:
        raw = headers[name].partition(",v0=")[0]
        for position in range(len(raw)):
            for bit in range(8):
                flipped = raw[:position] + chr(ord(raw[position]) ^ 1 << bit) + raw[position + 1 :]
                assert _fault(vector, headers={**headers, name: flipped}) is not None, (provider, name, flipped)


@pytest.mark.parametrize("vector", [SLACK, STANDARD, STRIPE], ids=lambda vector: vector[0].value)
def test_a_signed_time_is_accepted_five_minutes_to_both_sides_and_no_further(vector: Vector) -> None:
    at = vector[4]
    assert _fault(vector, now=at + 300) is None
    assert _fault(vector, now=at - 300) is None
    assert "in the past" in (_fault(vector, now=at + 301) or "")
    assert "in the future" in (_fault(vector, now=at - 3600) or "")
    provider, secret, headers, body, _ = vector
    request = Received(headers=headers, body=body)
    assert verify(PROVIDERS[provider], [secret], request, now=None, tolerance_seconds=300) is None, "a replay"


@pytest.mark.parametrize("provider", [each for each in PROVIDERS if each is not Provider.NONE])
@given(
    headers=st.dictionaries(
        st.sampled_from(_HEADERS), st.text(max_size=40) | st.text("0123456789abcdef=,v1t ", max_size=80)
    ),
    body=st.binary(max_size=40),
)
def test_no_header_and_no_body_makes_the_verification_fail_or_succeed_by_chance(
    provider: Provider, headers: dict[str, str], body: bytes
) -> None:
    request = Received(headers=headers, body=body)
    assert verify(PROVIDERS[provider], ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], request, now=0, tolerance_seconds=1)


@pytest.mark.parametrize("provider", [each for each in PROVIDERS if each is not Provider.NONE])
def test_what_the_test_sender_signs_is_genuine(provider: Provider) -> None:
    row, secret = PROVIDERS[provider], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    request = Received(headers={"content-type": "application/json"}, body=b"{}")
    headers = sign(row, secret, request, now=1_700_000_000)
    signed = Received(headers={**request.headers, **headers}, body=b"{}")
    assert verify(row, [secret], signed, now=1_700_000_000, tolerance_seconds=1) is None


def test_what_the_library_of_standard_webhooks_signs_is_genuine() -> None:
    now = datetime.now(UTC)
    signature = Webhook(STANDARD[1]).sign("msg_1", now, '{"a": "é"}')
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    body = '{"a": "é"}'.encode()
    assert _fault(STANDARD, headers=headers, body=body, now=now.timestamp()) is None


def test_a_header_with_many_signatures_is_genuine_if_one_of_them_is() -> None:
    good = STANDARD[2]["webhook-signature"]
    assert _fault(STANDARD, headers={**STANDARD[2], "webhook-signature": f"v1a,x v1,AAAA {good}"}) is None
    assert _fault(STANDARD, headers={**STANDARD[2], "webhook-signature": "v1,AAAA " * 1000 + good}) is not None


# Rows that users bring ---------------------------------------------------------------------------------------------


def test_the_known_providers_are_rows_that_a_user_could_bring() -> None:
    for row in PROVIDERS.values():
        assert read_row(row_of(row)) == row


def test_a_public_key_checks_a_signature() -> None:
    key = Ed25519PrivateKey.generate()
    row = read_row(
        {
            "scheme": "asymmetric",
            "algorithm": "ed25519",
            "key": "hex",
            "header": "X-Signature-Ed25519",
            "signed": "{time}{body}",
            "time_header": "X-Signature-Timestamp",
        }
    )
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    check_secret(row, public)
    headers = {"x-signature-timestamp": "100", "x-signature-ed25519": key.sign(b"100{}").hex()}
    assert verify(row, [public], Received(headers=headers, body=b"{}"), now=100, tolerance_seconds=5) is None
    assert verify(row, [public], Received(headers=headers, body=b"[]"), now=100, tolerance_seconds=5) is not None


def test_a_public_key_in_pem_checks_an_ecdsa_signature() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    row = read_row({"scheme": "asymmetric", "algorithm": "ecdsa_sha256", "encoding": "base64", "header": "s"})
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signature = base64.b64encode(key.sign(b"{}", ec.ECDSA(hashes.SHA256()))).decode()
    assert verify(row, [public], Received(headers={"s": signature}, body=b"{}"), now=0, tolerance_seconds=5) is None
    with pytest.raises(ValueError, match="public key"):
        check_secret(row, "no key at all")


def test_a_public_key_of_rsa_checks_a_signature() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    row = read_row({"scheme": "asymmetric", "algorithm": "rsa_sha256", "encoding": "base64", "header": "s"})
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signature = base64.b64encode(key.sign(b"{}", padding.PKCS1v15(), hashes.SHA256())).decode()
    assert verify(row, [public], Received(headers={"s": signature}, body=b"{}"), now=0, tolerance_seconds=5) is None
    assert verify(row, [public], Received(headers={"s": signature}, body=b"[]"), now=0, tolerance_seconds=5) is not None
    with pytest.raises(ValueError, match="public key"):
        check_secret(read_row({"scheme": "asymmetric", "algorithm": "ecdsa_sha256", "header": "s"}), public)


def test_secrets_in_a_header_and_in_the_address_are_compared() -> None:
    in_header = read_row({"scheme": "shared_secret", "header": "Authorization", "prefix": "Bearer "})
    in_url = read_row({"scheme": "url_secret", "parameter": "key"})
    for row, right, wrong in (
        (in_header, {"headers": {"authorization": "Bearer s3cret"}}, {"headers": {"authorization": "s3cret"}}),
        (in_url, {"headers": {}, "query": {"key": "s3cret"}}, {"headers": {}, "query": {"key": "s3cre"}}),
    ):
        assert verify(row, ["old", "s3cret"], Received(body=b"", **right), now=0, tolerance_seconds=1) is None  # type: ignore[arg-type]
        assert verify(row, ["old", "s3cret"], Received(body=b"", **wrong), now=0, tolerance_seconds=1) is not None  # type: ignore[arg-type]


def test_a_row_that_signs_the_address_compares_it() -> None:
    row = read_row(
        {"scheme": "hmac", "header": "s", "signed": "{url}{body}", "algorithm": "sha1", "encoding": "base64"}
    )
    request = Received(headers={}, body=b"{}", url="https://ava.example.com/v1/hooks/t?a=1")
    headers = sign(row, "secret", request, now=0)
    here = Received(headers=headers, body=b"{}", url=request.url)
    assert verify(row, ["secret"], here, now=0, tolerance_seconds=1) is None
    elsewhere = Received(headers=headers, body=b"{}", url="https://other.example.com/v1/hooks/t?a=1")
    assert verify(row, ["secret"], elsewhere, now=0, tolerance_seconds=1) is not None


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("hmac", ""),
        ({}, "scheme"),
        ({"scheme": "hmac"}, "header"),
        ({"scheme": "rot13", "header": "s"}, "scheme"),
        ({"scheme": "hmac", "header": "s", "signed": "{time}.{body}"}, "signed"),
        ({"scheme": "hmac", "header": "s", "time_header": "t"}, "signed"),
        ({"scheme": "hmac", "header": "s", "signed": "no body"}, "signed"),
        ({"scheme": "hmac", "header": "s", "signed": "{body}{secret}"}, "signed"),
        ({"scheme": "hmac", "header": "s", "algorithm": "ed25519"}, "algorithm"),
        ({"scheme": "asymmetric", "header": "s"}, "algorithm"),
        ({"scheme": "hmac", "header": "s", "signed": "{id}{body}", "id": "{body:id}"}, "id"),
        ({"scheme": "hmac", "header": "s", "separator": ","}, "separator"),
        ({"scheme": "hmac", "header": "a b"}, "header"),
        ({"scheme": "url_secret"}, "parameter"),
        ({"scheme": "shared_secret", "header": "s", "time_header": "t"}, "time_header"),
        ({"scheme": "hmac", "header": "s", "handshake": {"where": "{body:a}"}}, "handshake"),
        ({"scheme": "hmac", "header": "s", "answer_status": 500}, "answer_status"),
        ({"scheme": "hmac", "header": "s", "code": "lambda: 1"}, "code"),
        ({"scheme": "hmac", "header": "s", "type": ["a"] * 6}, "type"),
        ({"scheme": "hmac", "header": "s" * 300}, "header"),
    ],
)
def test_a_wrong_row_is_refused_and_its_field_named(row: object, field: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.field == field


# What follows from a row -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "headers", "data", "type_"),
    [
        (Provider.GITHUB, {"x-github-event": "pull_request"}, {"action": "opened"}, "github.pull_request.opened"),
        (Provider.GITHUB, {"x-github-event": "push"}, {"ref": "main"}, "github.push"),
        (Provider.GITHUB, {"x-github-event": "a b\r\né"}, {}, "github.a_b___"),
        (Provider.GITHUB, {}, {"action": "opened"}, None),
        (Provider.STRIPE, {}, {"type": "invoice.paid"}, "stripe.invoice.paid"),
        (Provider.SLACK, {}, {"type": "event_callback", "event": {"type": "app_mention"}}, "slack.app_mention"),
        (Provider.SLACK, {}, {"body": "command=%2Fdeploy"}, "slack.form"),
        (Provider.SHOPIFY, {"x-shopify-topic": "orders/create"}, {}, "shopify.orders.create"),
        (Provider.STANDARD, {}, {"type": "ava.job.completed"}, "standard.ava.job.completed"),
        (Provider.NONE, {}, {"type": "x"}, None),
    ],
)
def test_the_type_is_the_one_that_the_provider_names(
    provider: Provider, headers: dict[str, str], data: object, type_: str | None
) -> None:
    assert derived_type(PROVIDERS[provider], Received(headers=headers, body=b"", data=data)) == type_


def test_a_custom_type_is_never_one_of_our_own() -> None:
    row = read_row({"scheme": "none", "type": "{body:type}"})
    assert derived_type(row, Received(headers={}, body=b"", data={"type": "ava.job.completed"})) is None


def test_handshakes_are_answered_with_what_they_ask_for() -> None:
    slack = Received(headers={}, body=b"", data={"type": "url_verification", "challenge": "3eZbrw1a"})
    assert handshake_response(PROVIDERS[Provider.SLACK], slack) == "3eZbrw1a"
    assert handshake_response(PROVIDERS[Provider.GITHUB], Received(headers={"x-github-event": "ping"}, body=b"")) == ""
    assert (
        handshake_response(PROVIDERS[Provider.GITHUB], Received(headers={"x-github-event": "push"}, body=b"")) is None
    )


@pytest.mark.parametrize(
    ("provider", "mode", "headers", "data", "seconds"),
    [
        (Provider.GITHUB, DedupeBy.BOTH, {"x-github-delivery": "d1"}, {}, {86400: 2}),
        (Provider.STRIPE, DedupeBy.BOTH, {"stripe-signature": "t=1000,v1=x"}, {"id": "evt_1"}, {86400: 1, 300: 1}),
        # A time that is ahead would be accepted for longer.
        (Provider.SLACK, DedupeBy.BODY, {"x-slack-request-timestamp": "1200"}, {}, {500: 1}),
        (Provider.STANDARD, DedupeBy.ID, {"webhook-id": "m"}, {}, {86400: 1}),
        (Provider.GITHUB, DedupeBy.ID, {}, {}, {}),
        (Provider.GITHUB, DedupeBy.NONE, {"x-github-delivery": "d1"}, {}, {}),
    ],
)
def test_a_delivery_is_known_by_its_id_and_by_its_body_as_long_as_it_could_be_repeated(
    provider: Provider, mode: DedupeBy, headers: dict[str, str], data: object, seconds: dict[int, int]
) -> None:
    request = Received(headers=headers, body=b"{}", data=data)
    keys = dedupe_keys(PROVIDERS[provider], mode, request, now=1000, tolerance_seconds=300)
    assert {each: [s for _, s in keys].count(each) for _, each in keys} == seconds
    assert all(len(digest) == 32 for digest, _ in keys)


def test_long_ids_that_differ_in_their_ends_are_of_different_deliveries() -> None:
    found = set()
    for end in "ab":
        request = Received(headers={"webhook-id": "x" * 300 + end}, body=b"{}", data={})
        row = PROVIDERS[Provider.STANDARD]
        assert sender_id(row, request) == "x" * 255
        found |= {digest for digest, _ in dedupe_keys(row, DedupeBy.ID, request, now=1000, tolerance_seconds=300)}
    assert len(found) == 2


def test_an_id_comes_from_the_signed_text_where_the_provider_has_it_there() -> None:
    stripe = Received(headers={"x-id": "other"}, body=b"", data={"id": "evt_1"})
    assert sender_id(PROVIDERS[Provider.STRIPE], stripe) == "evt_1"
    assert sender_id(PROVIDERS[Provider.SLACK], Received(headers={}, body=b"", data={"event_id": 7})) == "7"
    assert sender_id(PROVIDERS[Provider.GITHUB], Received(headers={}, body=b"", data=[])) is None


def test_the_defaults_of_dedupe_are_those_of_the_contract() -> None:
    defaults = {provider: row.default_dedupe(provider) for provider, row in PROVIDERS.items()}
    both = {Provider.GITHUB, Provider.STRIPE, Provider.SLACK, Provider.SHOPIFY}
    assert {provider for provider, mode in defaults.items() if mode is DedupeBy.BOTH} == both
    assert (defaults[Provider.STANDARD], defaults[Provider.NONE]) == (DedupeBy.ID, DedupeBy.NONE)
    untimed = Verifier(scheme=PROVIDERS[Provider.GITHUB].scheme, header="s", id="{header:i}")
    assert untimed.default_dedupe(Provider.CUSTOM) is DedupeBy.NONE
