"""The obstacles of a queued job apart from its position: a pause, a limit, or other tenants' turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ava.domain.limits.rates import Rate
from ava.domain.pause import Pause
from ava.domain.record import format_time
from ava.domain.secrets.redaction import HIDDEN_PAYLOAD, without_payload

MAX_TENANTS = 100


@dataclass(frozen=True, kw_only=True)
class LimitFacts:
    worker_id: str
    #: The limit's scope, and the job's value of it; None: the whole worker.
    per: str | None
    value: str | None
    #: Jobs that run or are about to, and their maximum; None: only the rate is limited.
    running: int
    max_running: int | None
    rate: Rate | None
    #: Seconds until the rate limit allows the next start.
    rate_wait_seconds: float
    #: The job's position among its tenant's jobs that wait for the same key.
    position: int

    @property
    def sentence(self) -> str:
        if self.max_running == 0:
            return f"limit: {self._who} may run none"
        if self.rate is not None and self.rate_wait_seconds > 0:
            return f"limit: {self._who} starts {self.rate}, {_ordinal(self.position)} in line"
        if self.max_running is None:
            return f"limit: {self._who} starts {self.rate}, {_ordinal(self.position)} in line"
        return f"limit: {self._who} runs {self.running} of {self.max_running}, {_ordinal(self.position)} in line"

    @property
    def _who(self) -> str:
        if self.per is None:
            return self.worker_id
        if self.per == "tenant":
            return f"{self.worker_id} of this tenant"
        return f"{self.per.removeprefix('input.')} {self.value}"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    #: The pause of its queue.
    paused: Pause | None = None
    limit: LimitFacts | None = None
    #: The tenant's running and published jobs, and their maximum; None: unlimited.
    tenant_running: int = 0
    tenant_max_running: int | None = None
    #: Other tenants with waiting jobs of this queue and priority, at most `MAX_TENANTS`.
    other_tenants: int = 0
    #: The closing log line of the handler that deferred the job.
    deferral: str | None = None
    #: Time of the first debounced trigger, and the latest start; None: no limit.
    debounced_at: datetime | None = None
    debounced_until: datetime | None = None
    #: The active containments that hold it.
    containment_ids: tuple[str, ...] = ()

    def without_payloads(self) -> Waiting:
        limit = self.limit
        if limit is not None and limit.value is not None and limit.per not in (None, "tenant"):
            limit = replace(limit, value=HIDDEN_PAYLOAD)
        return replace(self, limit=limit, deferral=None if self.deferral is None else without_payload(self.deferral))

    @property
    def sentence(self) -> str | None:
        """Return the first thing that blocks the job; None if it waits only for its position."""
        if self.paused is not None:
            return self.paused.sentence
        if self.limit is not None:
            return self.limit.sentence
        if self.tenant_max_running is not None and self.tenant_running >= self.tenant_max_running:
            return f"limit: this tenant runs {self.tenant_running} of {self.tenant_max_running}"
        return None

    @property
    def debounce(self) -> str | None:
        if self.debounced_at is None:
            return None
        until = "" if self.debounced_until is None else f", until {format_time(self.debounced_until)} at most"
        return f"debounce: each trigger with its key delays it, since {format_time(self.debounced_at)}{until}"

    @property
    def turn(self) -> str:
        if not self.other_tenants:
            return ""
        more = "at least " if self.other_tenants >= MAX_TENANTS else ""
        return f"tenant turn: {more}{self.other_tenants} {'other' if self.other_tenants == 1 else 'others'} before it, "


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
