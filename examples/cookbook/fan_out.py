"""Check 10,000 addresses in batches, and report the invalid ones."""

from dataclasses import dataclass
from typing import Any

from ava import Env, worker

BATCH_SIZE = 100


@dataclass
class Batch:
    addresses: list[str]


@dataclass
class Mailing:
    size: int


def load(size: int) -> list[str]:
    """Return the addresses; read them from your database or object storage."""
    return [f"user{n}@example.com" if n % 2500 else f"user{n}" for n in range(size)]


@worker(max_retries=3)
def check_batch(input: Batch) -> list[str]:
    return [address for address in input.addresses if "@" not in address]


@worker
def check_mailing(input: Mailing, env: Env) -> dict[str, Any]:
    addresses = load(input.size)
    batches = (Batch(addresses[n : n + BATCH_SIZE]) for n in range(0, input.size, BATCH_SIZE))
    invalid = [address for found in env.map(check_batch, batches) for address in found]
    print(f"{len(addresses)} addresses, invalid: {', '.join(invalid)}")
    return {"checked": len(addresses), "invalid": invalid}
