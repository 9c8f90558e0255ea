"""Whether the broker can be reached with what BROKER_URL says."""

from __future__ import annotations

from kombu import Connection

from ava.errors import StartError
from ava.settings import Settings

__all__ = ["check"]


def check(settings: Settings) -> None:
    """Connect to the broker once; raises `StartError`, which says what it answered, where that fails."""
    with Connection(settings.broker_url, connect_timeout=3) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            connection.default_channel.close()
        except Exception as problem:
            # Each transport raises errors of its own, with no common class.
            reason = str(problem.__cause__ or problem).strip() or type(problem).__name__
            raise StartError(f"BROKER_URL: the broker cannot be reached: {reason}") from problem
