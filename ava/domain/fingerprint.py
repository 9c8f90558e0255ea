"""The fingerprint of an error, which groups failures with the same cause.

A hash of the error's kind, its message without numbers, ids and addresses, and the handler's frames.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from uuid import UUID

#: Innermost frames that count; more are mostly a recursion.
MAX_FRAMES = 20
#: The kind of the group for failures without their own, because the tenant has too many groups.
UNGROUPED = "Other"
#: Max characters of a message that count, so that the patterns below, which are linear, stay cheap.
_MAX_CHARACTERS = 1_000
_ANY = "*"

# The order matters: each pattern sees what the previous ones left.
_LEFT_OUT = tuple(
    re.compile(pattern)
    for pattern in (
        # E-mail addresses: bob@example.com.
        r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}",
        # IPv6, MAC addresses and times of the day: fe80::1, 00:1b:44:11:3a:b7, 10:20:30.
        r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w{1,16})?(?![\w:])",
        # Ids of this service, which may have no digit: usr_alice.
        r"\b(?:job|wkr|ten|usr|wh|evt|req|key|sch|op|err|sub|hk|del|dlv)_[0-9a-z_]{1,60}\b",
        # UUIDs, and parts of hexadecimal digits only: 3f2504e0-4f89-…, deadbeef.
        r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b",
        r"(?:(?<!\w)[+-])?\b[0-9A-Fa-f]{8,}\b",
        # Any word with a digit: 42, 0x7f3a, row12, 01h455vb. With signs and fractions.
        r"(?:(?<!\w)[+-])?\b\w*\d\w*(?:[.,]\d+)*(?:[eE][+-]?\d+)?%?",
    )
)
# Neighbouring placeholders count as one: 192.168.0.1:80, 2025-06-01T10:00:00Z, [1, 2, 3].
_REPEATED = re.compile(r"\*(?:[-+.,:;/T ]{0,2}\*)+Z?")
_SPACES = re.compile(r"\s+")


def kind_and_template(error: str) -> tuple[str, str]:
    """Return the kind of an error (`Kind: reason`), and its reason without numbers, ids and addresses."""
    kind, _, reason = error[:_MAX_CHARACTERS].partition(": ")
    template = reason
    for pattern in _LEFT_OUT:
        template = pattern.sub(_ANY, template)
    return kind, _SPACES.sub(" ", _REPEATED.sub(_ANY, template)).strip()


def own_frames_matter(kind: str) -> bool:
    """Return True if the handler's frames distinguish failures of this kind.

    Where a timeout, a memory limit or a process's death strikes is arbitrary.
    """
    return kind not in ("Timeout", "MemoryExceeded", "WorkerLost")


def error_id(*, tenant_id: str, worker_id: str, error: str, frames: Sequence[str] = ()) -> UUID:
    """Return the id of the failed job's error group: a hash of the fingerprint.

    `frames` are the handler's, innermost last.
    """
    kind, template = kind_and_template(error)
    counted_frames = list(frames)[-MAX_FRAMES:] if own_frames_matter(kind) else []
    return _hashed(tenant_id, worker_id, kind, template, *counted_frames)


def ungrouped_id(*, tenant_id: str, worker_id: str) -> UUID:
    """Return the id of the shared group for a worker's failures without their own group."""
    return _hashed(tenant_id, worker_id, UNGROUPED)


def _hashed(*parts: str) -> UUID:
    # PostgreSQL stores no NUL, so the separator occurs in no part.
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    # RFC 9562 reserves version 8 for custom UUIDs.
    number = int.from_bytes(digest[:16], "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)
