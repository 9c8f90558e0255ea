"""The fingerprint of an error: what failures of one cause have in common, whatever they were about.

It is made of the error's kind, of its message without numbers, ids and addresses, and of the handler's own frames.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from uuid import UUID

#: The innermost frames that count. Deeper ones are of a recursion, mostly.
MAX_FRAMES = 20
#: The kind of the group of the failures that have no group of their own, because the tenant has too many.
UNGROUPED = "Other"
#: Characters of a message that count, so that the expressions below, each of them linear, stay cheap.
_MAX_CHARACTERS = 1_000
#: What stands for everything that is left out.
_ANY = "*"

# In this order, because what one leaves behind is looked at by the next.
_LEFT_OUT = tuple(
    re.compile(pattern)
    for pattern in (
        # Addresses of people: bob@example.com.
        r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}",
        # IPv6, MAC addresses and times of the day: fe80::1, 00:1b:44:11:3a:b7, 10:20:30.
        r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w{1,16})?(?![\w:])",
        # Ids of this service, which may have no digit: usr_alice.
        r"\b(?:job|wkr|ten|usr|wh|evt|req|key|sch|op|err|sub|hk|del|dlv)_[0-9a-z_]{1,60}\b",
        # UUIDs, and parts of hexadecimal digits without any other letter: 3f2504e0-4f89-…, deadbeef.
        r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b",
        r"(?:(?<!\w)[+-])?\b[0-9A-Fa-f]{8,}\b",
        # Every word with a digit, which is a number or an id: 42, 0x7f3a, row12, 01h455vb. Signs and fractions too.
        r"(?:(?<!\w)[+-])?\b\w*\d\w*(?:[.,]\d+)*(?:[eE][+-]?\d+)?%?",
    )
)
# Several of them beside each other count as one: 192.168.0.1:80, 2025-06-01T10:00:00Z, [1, 2, 3].
_REPEATED = re.compile(r"\*(?:[-+.,:;/T ]{0,2}\*)+Z?")
_SPACES = re.compile(r"\s+")


def kind_and_template(error: str) -> tuple[str, str]:
    """Returns the kind of an error (`Kind: reason`), and its reason without numbers, ids and addresses."""
    kind, _, reason = error[:_MAX_CHARACTERS].partition(": ")
    template = reason
    for pattern in _LEFT_OUT:
        template = pattern.sub(_ANY, template)
    return kind, _SPACES.sub(" ", _REPEATED.sub(_ANY, template)).strip()


def own_frames_matter(kind: str) -> bool:
    """Returns True if the place in the handler distinguishes failures of this kind.

    Where a handler is when its time is over, its memory too much, or its process dies, is chance.
    """
    return kind not in ("Timeout", "MemoryExceeded", "WorkerLost")


def error_id(*, tenant_id: str, worker_id: str, error: str, frames: Sequence[str] = ()) -> UUID:
    """Returns the id of the group that a failed job belongs to: a hash of the fingerprint.

    `frames` are the handler's own, the innermost last.
    """
    kind, template = kind_and_template(error)
    places = list(frames)[-MAX_FRAMES:] if own_frames_matter(kind) else []
    return _hashed(tenant_id, worker_id, kind, template, *places)


def ungrouped_id(*, tenant_id: str, worker_id: str) -> UUID:
    """Returns the id of the group of a worker's failures that have no group of their own."""
    return _hashed(tenant_id, worker_id, UNGROUPED)


def _hashed(*parts: str) -> UUID:
    # The separator is no part of any text that PostgreSQL stores.
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    # Version 8 of RFC 9562 is for ids that a system makes by its own rule.
    number = int.from_bytes(digest[:16], "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)
