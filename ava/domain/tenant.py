"""The rules that operators set for a tenant, and the bounds of every retention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits and the weight of one tenant; None: those of the installation."""

    tenant_id: str
    #: How many of its jobs run at once; 0: none.
    max_running: int | None = None
    #: Its share of the turns, beside the others' weights.
    weight: float | None = None
    #: The smallest priority number of its jobs; a smaller one becomes this one when the job is made.
    most_urgent_priority: int | None = None
    #: Days that its final jobs are kept.
    retention_days: float | None = None
    updated_by: str | None = None
    updated_at: datetime | None = None


#: The bounds of every retention, in days: about a minute and a half, and a hundred years. A final job is retained for
#: its worker's days, else for those of its tenant, else for the installation's.
MIN_RETENTION_DAYS = 0.001
MAX_RETENTION_DAYS = 36_500
