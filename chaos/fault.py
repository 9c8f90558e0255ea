"""What a fault is: what it does to a running system, what must hold meanwhile, and how soon the system must recover."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from chaos.cluster import BROKERS, Cluster, Plan, Watch


@dataclass(frozen=True, kw_only=True)
class Injury:
    """What a fault has done."""

    #: When recovery could begin: the moment of the fault or, for an outage, of its end.
    since: float
    #: The jobs whose next start means recovery …
    jobs: Collection[str] = ()
    #: … or the affected runs, which must be rescued …
    watch: Watch | None = None
    #: … or when the fault itself saw it; without any of these, any ten starts mean recovery.
    recovered_at: float | None = None
    #: Accepted jobs whose commit the fault took from the database, so that no code can know them.
    uncommitted: Collection[str] = ()
    #: Jobs that a client saw as completed before the fault, and which must be completed at the end.
    ended_before: Collection[str] = ()
    #: Jobs that the fault itself has judged, by rules of its own: they may fail, be cancelled and repeat.
    judged: Collection[str] = ()
    #: A table of its own, which follows that of the rows.
    appendix: str = ""
    #: What the fault itself saw that was promised not to happen.
    broken: Collection[str] = ()
    #: What the fault itself measured, for the table.
    measured: Collection[str] = ()


def _is_possible() -> None:
    """A fault that any machine can have."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which something breaks."""

    name: str
    #: Injects it, and ends it if it is an outage.
    inject: Callable[[Cluster], Injury]
    #: Seconds within which recovery is promised.
    promised_seconds: float
    #: True if no job may be begun a second time.
    repeats_nothing: bool = False
    #: True if no request may fail.
    refuses_nothing: bool = False
    #: The brokers with which it makes a difference.
    brokers: Collection[str] = BROKERS
    #: How its cluster differs from the usual one.
    plan: Plan = field(default_factory=Plan)
    #: Returns why it cannot be injected on this machine, None if it can.
    impossible: Callable[[], str | None] = _is_possible
    #: True if it takes all cores, so that no other fault is measured beside it.
    runs_alone: bool = False
