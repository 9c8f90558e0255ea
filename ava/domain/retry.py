"""When a failed attempt runs again."""

from __future__ import annotations

__all__ = ["BACKOFF_FACTOR", "FIRST_DELAY_SECONDS", "MOST_LOSSES", "delay_seconds", "may_retry"]

#: How often a job is queued again after its process was lost, before it fails with `WorkerLost`.
MOST_LOSSES = 2
#: Seconds between the first attempt and the second; each further delay is longer by the factor.
FIRST_DELAY_SECONDS = 1
BACKOFF_FACTOR = 2


def may_retry(*, attempt: int, max_attempts: int) -> bool:
    """Whether another attempt follows the given one (both count from 1)."""
    return attempt < max_attempts


def delay_seconds(*, attempt: int, chance: float) -> float:
    """Seconds until the attempt after the given one: about 1, 2, 4 …, spread by ±20 % with `chance` (0 to 1)."""
    return float(FIRST_DELAY_SECONDS * BACKOFF_FACTOR ** (attempt - 1)) * (0.8 + 0.4 * chance)
