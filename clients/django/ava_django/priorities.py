"""Map Django's priorities, -100 to 100 with the largest first, to a job's, 1 (first) to 10."""

from __future__ import annotations

__all__ = ["TAG", "job_priority"]

#: The tag that stores Django's number; without it the number is 0.
TAG = "django_priority"


def job_priority(priority: int) -> int:
    """Return the priority of a task's job: 100 becomes 1, 0 becomes 5, -100 becomes 10."""
    return 5 - round(priority * (4 if priority >= 0 else 5) / 100)
