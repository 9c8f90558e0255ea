"""The limits of handlers that call other servers."""

from __future__ import annotations

from ava import settings
from ava.outbound.http import Limits

__all__ = ["limits"]

_LONGEST_CONNECT_SECONDS = 10.0


def limits(*, timeout_seconds: float, max_bytes: int, silence_seconds: float = float("inf")) -> Limits:
    """Returns the limits of one call. It may reach private addresses only if `AVA_WEBHOOK_ALLOW_PRIVATE` is set."""
    return Limits(
        connect_timeout_seconds=min(timeout_seconds, _LONGEST_CONNECT_SECONDS),
        exchange_timeout_seconds=timeout_seconds,
        silence_timeout_seconds=silence_seconds,
        max_answer_bytes=max_bytes,
        allow_private=settings.load().allow_private_addresses,
    )
