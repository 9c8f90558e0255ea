"""Fingerprints: failures of one cause have the same, whatever they were about."""

from __future__ import annotations

import random
import string
import time
import uuid

import pytest

from ava.domain.fingerprint import MOST_FRAMES, error_id, kind_and_template, ungrouped_id

_MESSAGES = (
    "ValueError: no channel {slug} in account {number}",
    "KeyError: '{typeid}'",
    "ConnectionError: {ip}:{port} refused the connection after {decimal} s",
    "TimeoutError: upstream {ipv6} did not answer request {uuid}",
    "LookupError: user {email} has no row {number}",
    "RuntimeError: <Worker object at {address}> is closed",
    "OSError: [Errno {errno}] No space left on device: '/tmp/{hex}/part-{number}.csv'",
    "HTTPError: {status} for url: https://api.example.com/v1/items/{uuid}?page={number}",
    "ValidationError: {number} validation errors for Invoice {hex}",
    "ValueError: could not parse {moment}",
    "ArithmeticError: {decimal} is not between {number} and {number}",
    "AssertionError: expected {list}, got {list}",
)


def _values(chance: random.Random) -> dict[str, str]:
    def digits(most: int) -> str:
        return str(chance.randrange(10 ** chance.randint(1, most)))

    letters = string.ascii_lowercase + string.digits
    return {
        "number": chance.choice(("", "-")) + digits(9),
        "slug": f"{chance.choice(letters)}{digits(3)}{chance.choice(letters)}",
        "typeid": "job_" + "".join(chance.choices(letters, k=26)),
        "ip": ".".join(str(chance.randrange(256)) for _ in range(4)),
        "ipv6": f"{chance.randrange(1, 2**16):x}::{chance.randrange(1, 2**16):x}",
        "port": str(chance.randrange(1, 2**16)),
        "decimal": f"{chance.uniform(-1e6, 1e6):.{chance.randint(1, 6)}f}",
        "uuid": str(uuid.UUID(int=chance.getrandbits(128))),
        "email": "".join(chance.choices(string.ascii_lowercase, k=chance.randint(1, 12))) + "@mail.example.org",
        "address": hex(chance.getrandbits(47)),
        "errno": digits(2),
        "status": str(chance.randrange(400, 600)),
        "hex": f"{chance.getrandbits(128):032x}",
        "moment": f"2025-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T10:00:{chance.randrange(60):02}Z",
        "list": str([chance.randrange(1000) for _ in range(chance.randint(1, 6))]),
    }


def test_ten_thousand_failures_of_twelve_kinds_have_twelve_fingerprints() -> None:
    chance = random.Random(5)
    found: dict[str, set[uuid.UUID]] = {message: set() for message in _MESSAGES}
    for n in range(10_000):
        message = _MESSAGES[n % 12]
        error = message.format(**_values(chance))
        found[message].add(error_id(tenant_id="ten_a", worker_id="wkr_a", error=error, frames=["handlers:run"]))
    assert {message: len(ids) for message, ids in found.items()} == dict.fromkeys(_MESSAGES, 1)
    assert len(set.union(*found.values())) == 12


@pytest.mark.parametrize(
    "other",
    [
        {"tenant_id": "ten_b"},
        {"worker_id": "wkr_b"},
        {"error": "KeyError: no such channel"},
        {"error": "ValueError: no such user"},
        {"frames": ["handlers:run", "handlers:other"]},
    ],
)
def test_tenant_worker_kind_message_and_frames_tell_groups_apart(other: dict[str, object]) -> None:
    one: dict[str, object] = {
        "tenant_id": "ten_a",
        "worker_id": "wkr_a",
        "error": "ValueError: no such channel",
        "frames": ["handlers:run", "handlers:send"],
    }
    assert error_id(**one) != error_id(**(one | other))  # type: ignore[arg-type]
    assert ungrouped_id(tenant_id="ten_a", worker_id="wkr_a") != error_id(**one)  # type: ignore[arg-type]


def test_where_a_handler_was_when_its_time_was_over_does_not_count() -> None:
    caller = {"tenant_id": "ten_a", "worker_id": "wkr_a"}
    there = error_id(**caller, error="Timeout: exceeded 120 s", frames=["handlers:a"])
    assert there == error_id(**caller, error="Timeout: exceeded 60 s", frames=["handlers:b"])


def test_the_message_of_a_group_is_readable() -> None:
    assert kind_and_template("ValueError: no channel #security-ops in account 42") == (
        "ValueError",
        "no channel #security-ops in account *",
    )
    assert kind_and_template("Boom") == ("Boom", "")


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "1:" * 10**6, "@" * 10**6, "a@" * 10**6, "*," * 10**6, "\ud800" * 100, "0.1" * 10**6]
)
def test_no_message_is_slow_or_fails(text: str) -> None:
    began = time.process_time()
    error_id(tenant_id="ten_a", worker_id="wkr_a", error=f"E: {text}", frames=["f"] * MOST_FRAMES * 2)
    assert time.process_time() - began < 0.2
