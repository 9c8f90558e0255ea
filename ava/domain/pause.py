"""The pause of a queue, worker, schedule, node, hook, subscription or webhook."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from ava.domain.access.actor import Actor
from ava.domain.record import about, format_time


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused something, when and why."""

    by: Actor | None = field(metadata=about("Who paused it; null for the roles of a tenant if an operator did."))
    at: datetime
    reason: str | None

    @property
    def sentence(self) -> str:
        """Return the pause in one line: its author, start and reason."""
        why = "" if self.reason is None else f": {' '.join(self.reason.split())}"
        who = "the platform" if self.by is None else self.by.words
        return f"paused by {who} since {format_time(self.at)}{why}"

    @property
    def for_tenants(self) -> Pause:
        """Return the pause as the roles of a tenant see it."""
        return replace(self, by=None) if self.by is not None and self.by.is_operator else self
