"""Limits for handlers that call other servers."""

from __future__ import annotations

from ava.outbound.http import Limits

_LONGEST_CONNECT_SECONDS = 10.0


def limits(*, timeout_seconds: float, max_bytes: int) -> Limits:
    """Return the limits of one call. `ava.domain.outbound.outbound_rules` defines the allowed addresses."""
    return Limits(
        connect_timeout_seconds=min(timeout_seconds, _LONGEST_CONNECT_SECONDS),
        exchange_timeout_seconds=timeout_seconds,
        max_response_bytes=max_bytes,
    )
