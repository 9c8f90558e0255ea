"""When a failed attempt is repeated."""

from __future__ import annotations

__all__ = ["BACKOFF_FACTOR", "FIRST_DELAY_SECONDS", "MAX_LOSSES", "MAX_NODE_LOSSES", "delay_seconds", "may_retry"]

#: How often a job whose process was lost returns to the queue, before it fails with `WorkerLost`.
MAX_LOSSES = 2
#: The same for a job whose whole node died. It is seldom the job's fault, because the others of the node were lost too.
MAX_NODE_LOSSES = 10
#: Seconds between the first attempt and the second; each further delay is longer by the factor.
FIRST_DELAY_SECONDS = 1
BACKOFF_FACTOR = 2
#: The share by which a delay is spread in both directions.
_SPREAD = 0.2


def may_retry(*, attempt: int, max_attempts: int) -> bool:
    """Returns True if another attempt follows the given one (both count from 1)."""
    return attempt < max_attempts


def delay_seconds(*, attempt: int, chance: float) -> float:
    """Returns the seconds until the attempt after the given one: 1, 2, 4 …, spread by ±20 % with `chance` (0 to 1)."""
    unspread = FIRST_DELAY_SECONDS * float(BACKOFF_FACTOR ** (attempt - 1))
    return unspread * (1 - _SPREAD + 2 * _SPREAD * chance)
