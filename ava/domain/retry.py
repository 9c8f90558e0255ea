"""When a failed attempt runs again."""

from __future__ import annotations

__all__ = ["MOST_LOSSES", "delay_seconds", "may_retry"]

#: How often a job is queued again after its process was lost, before it fails with `WorkerLost`.
MOST_LOSSES = 2


def may_retry(*, attempt: int, max_attempts: int) -> bool:
    """Whether another attempt follows the given one (both count from 1)."""
    return attempt < max_attempts


def delay_seconds(*, attempt: int, chance: float) -> float:
    """Seconds until the attempt after the given one: about 1, 2, 4 …, spread by ±20 % with `chance` (0 to 1)."""
    return float(2 ** (attempt - 1)) * (0.8 + 0.4 * chance)
