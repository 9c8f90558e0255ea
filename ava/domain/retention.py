"""How long final jobs are kept: a worker's own days, else those of the job's tenant, else the installation's."""

from __future__ import annotations

#: The bounds of every retention, in days: about a minute and a half, and a hundred years.
MIN_DAYS = 0.001
MAX_DAYS = 36_500
