"""What operators and the dispatcher have set for new jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Self

from ava.domain import limits, priority
from ava.domain.caller import Caller
from ava.domain.job import JobSpec
from ava.errors import PriorityTooUrgent
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.fleet import tenants
from ava.store.jobs import backlog

__all__ = ["TriggerRules"]


class TriggerRules:
    """The windows that are closed, and the limits and priorities of tenants; each process keeps them for a moment."""

    #: Seconds for which this process keeps what it has read, and while a window is closed. What is stored for a closed
    #: window waits for the dispatcher's next look, so the process asks soon whether the window is open again.
    keep_seconds = 0.5
    keep_closed_seconds = 0.1

    def __init__(self, *, most_urgent: int = priority.FIRST, tenant_max_running: int | None = None) -> None:
        """`tenant_max_running` is the limit of a tenant without one of its own; None stands for any number."""
        #: The smallest priority number that roles of a tenant may ask for.
        self.most_urgent = most_urgent
        self.tenant_max_running = tenant_max_running
        self._closed: frozenset[str] = frozenset()
        self._limited: frozenset[str] = frozenset()
        #: The smallest priority number of the jobs of each tenant that has one.
        self._most_urgent_of: dict[str, int] = {}
        self._version: tuple[int, datetime | None] = (0, None)
        self._read_at = float("-inf")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns the rules with what the settings name."""
        return cls(
            most_urgent=settings.tenant_most_urgent_priority,
            tenant_max_running=limits.TENANT_RUNNING_JOBS.of(settings),
        )

    def closed_windows(self, connection: Connection) -> frozenset[str]:
        """Returns the windows that take no more messages from the API; what is known of tenants is read with them."""
        keep_seconds = self.keep_closed_seconds if self._closed else self.keep_seconds
        if time.monotonic() - self._read_at > keep_seconds:
            self._read_at = time.monotonic()
            self._closed = backlog.closed_windows(connection)
            self._read_tenants(connection)
        return self._closed

    def _read_tenants(self, connection: Connection) -> None:
        version = tenants.rules_version(connection)
        if version != self._version:
            self._limited = tenants.turn_rules(connection).limited
            self._most_urgent_of = tenants.most_urgent(connection)
            self._version = version

    def bounded(self, tenant_id: str, specs: Sequence[JobSpec]) -> Sequence[JobSpec]:
        """Returns the specs with the priorities that hold for the tenant."""
        bound = self._most_urgent_of.get(tenant_id, priority.FIRST)
        if all(spec.priority >= bound for spec in specs):
            return specs
        return [replace(spec, priority=max(spec.priority, bound)) for spec in specs]

    def is_limited(self, tenant_id: str) -> bool:
        """Returns True if the number of the tenant's running jobs is limited; the dispatcher publishes its jobs."""
        return self.tenant_max_running is not None or tenant_id in self._limited

    def bounded_by_role(self, caller: Caller, wanted: int) -> int:
        """Returns a priority that others have chosen, but none that is more urgent than the caller may ask for."""
        return wanted if caller.is_operator else max(wanted, self.most_urgent)

    def refuse_urgent(self, caller: Caller, specs: Sequence[JobSpec]) -> None:
        """Raises `PriorityTooUrgent` for the first job that is more urgent than the caller may ask for."""
        if self.most_urgent == priority.FIRST or caller.is_operator:
            return
        for entry, spec in enumerate(specs):
            if spec.priority < self.most_urgent:
                reason = f"It must be {self.most_urgent} to {priority.LAST} for the roles of a tenant."
                raise PriorityTooUrgent(limits.MOST_URGENT_PRIORITY.says(reason), entry)
