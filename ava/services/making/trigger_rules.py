"""What the settings allow new jobs: how urgent they may be, and how many of a tenant may run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from ava.domain.access.caller import Caller
from ava.domain.jobs import priority
from ava.domain.jobs.job import JobSpec
from ava.domain.limits import table as limits
from ava.errors import PriorityTooUrgent
from ava.settings import Settings


class TriggerRules:
    """What the settings allow new jobs.

    What is set for one tenant, and the windows that the dispatcher has closed, are read by the statement that stores a
    job (`ava.store.jobs.moves.make`).
    """

    def __init__(self, *, most_urgent: int = priority.FIRST, tenant_max_running: int | None = None) -> None:
        """`tenant_max_running` is the limit of a tenant without one of its own; None stands for any number."""
        #: The smallest priority number that roles of a tenant may ask for.
        self.most_urgent = most_urgent
        self.tenant_max_running = tenant_max_running

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns the rules with what the settings name."""
        return cls(
            most_urgent=settings.tenant_most_urgent_priority,
            tenant_max_running=limits.TENANT_RUNNING_JOBS.of(settings),
        )

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
                raise PriorityTooUrgent(limits.MOST_URGENT_PRIORITY.message(reason), entry)
