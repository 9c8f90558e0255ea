"""How long final jobs are kept: a worker's own days, else those of the job's tenant, else the installation's."""

from __future__ import annotations

__all__ = ["LEAST_DAYS", "MOST_DAYS"]

#: The bounds of every retention, in days: about a minute and a half, and a hundred years.
LEAST_DAYS = 0.001
MOST_DAYS = 36_500
