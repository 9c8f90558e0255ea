"""Django's priorities, -100 to 100 with the largest first, as those of a job, 1 (first) to 10."""

from __future__ import annotations

__all__ = ["TAG", "job_priority"]

#: The tag that keeps Django's own number; without it the number is 0.
TAG = "django_priority"


def job_priority(priority: int) -> int:
    """Return the priority of the job of a task: 100 is 1, 0 is 5, -100 is 10."""
    return 5 - round(priority * (4 if priority >= 0 else 5) / 100)
