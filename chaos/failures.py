"""Twelve kinds of failures, with ids, numbers and addresses in their messages."""

from __future__ import annotations

import random
import string
import uuid

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


def values(rng: random.Random) -> dict[str, str]:
    """Return new random values for the messages."""

    def digits(most: int) -> str:
        return str(rng.randrange(10 ** rng.randint(1, most)))

    letters = string.ascii_lowercase + string.digits
    return {
        "number": rng.choice(("", "-")) + digits(9),
        "slug": f"{rng.choice(letters)}{digits(3)}{rng.choice(letters)}",
        "typeid": "job_" + "".join(rng.choices(letters, k=26)),
        "ip": ".".join(str(rng.randrange(256)) for _ in range(4)),
        "ipv6": f"{rng.randrange(1, 2**16):x}::{rng.randrange(1, 2**16):x}",
        "port": str(rng.randrange(1, 2**16)),
        "decimal": f"{rng.uniform(-1e6, 1e6):.{rng.randint(1, 6)}f}",
        "uuid": str(uuid.UUID(int=rng.getrandbits(128))),
        "email": "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 12))) + "@mail.example.org",
        "address": hex(rng.getrandbits(47)),
        "errno": digits(2),
        "status": str(rng.randrange(400, 600)),
        "hex": f"{rng.getrandbits(128):032x}",
        "moment": f"2025-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T10:00:{rng.randrange(60):02}Z",
        "list": str([rng.randrange(1000) for _ in range(rng.randint(1, 6))]),
    }
