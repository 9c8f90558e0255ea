"""The pause of a queue, worker, schedule, node, hook, subscription or webhook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ava.domain.access.actor import Actor
from ava.domain.record import as_record, format_time


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused something, when and why."""

    #: None: hidden from the roles of a tenant, because an operator paused it.
    by: Actor | None
    at: datetime
    reason: str | None

    @property
    def sentence(self) -> str:
        """Return the pause in one line: by whom, since when, and why."""
        why = "" if self.reason is None else f": {' '.join(self.reason.split())}"
        who = "the platform" if self.by is None else self.by.words
        return f"paused by {who} since {format_time(self.at)}{why}"

    @property
    def record(self) -> dict[str, Any]:
        """Return the pause as plain values."""
        by = None if self.by is None else as_record(self.by, "id kind via label")
        return {"by": by, "at": format_time(self.at), "reason": self.reason}

    @property
    def for_tenants(self) -> Pause:
        """Return the pause as the roles of a tenant see it."""
        return replace(self, by=None) if self.by is not None and self.by.is_operator else self
