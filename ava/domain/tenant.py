"""Operators' settings for a tenant, and the bounds of retention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits and the weight of a tenant; None: the installation's."""

    tenant_id: str
    #: 0: none.
    max_running: int | None = None
    #: Its weight in fair queueing.
    weight: float | None = None
    #: Smaller priority numbers of its jobs are raised to it at creation.
    most_urgent_priority: int | None = None
    retention_days: float | None = None
    updated_by: str | None = None
    updated_at: datetime | None = None


#: Bounds of a retention in days: about 90 seconds and 100 years. The worker's retention takes precedence over the
#: tenant's, and that over the installation's.
MIN_RETENTION_DAYS = 0.001
MAX_RETENTION_DAYS = 36_500
