"""Twelve kinds of failures, with ids, numbers and addresses in their messages, and a handler that fails with them."""

from __future__ import annotations

import random
import string
import uuid
from typing import Any

from ava import worker

MESSAGES = (
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


def values(chance: random.Random) -> dict[str, str]:
    """Return new random values for the messages."""

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


@worker("chaos_failure", name="Chaos: fail")
def failure(input: dict[str, Any]) -> None:
    """Raise an error of a kind."""
    kind, _, message = MESSAGES[input["kind"]].partition(": ")
    raise type(kind, (Exception,), {})(message.format(**input["values"]))
