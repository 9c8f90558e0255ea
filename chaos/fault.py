"""A fault: its effect on a running system, the promises during it, and the max time to recover."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from chaos.cluster import BROKERS, Cluster, Plan, Watch


@dataclass(frozen=True, kw_only=True)
class Injury:
    """The effects of a fault, as far as the fault itself knows them."""

    #: The time from which recovery is measured: the fault or, for an outage, its end.
    since: float
    #: The jobs whose next start means recovery …
    jobs: Collection[str] = ()
    #: … or the affected runs, which must be rescued …
    watch: Watch | None = None
    #: … or the time at which the fault observed it; without any of these, any ten starts mean recovery.
    recovered_at: float | None = None
    #: Accepted jobs whose commit the database lost because of the fault, so that no code can know them.
    uncommitted: Collection[str] = ()
    #: Jobs that a client saw as completed before the fault; they must be completed at the end.
    ended_before: Collection[str] = ()
    #: Jobs that the fault itself has judged by its own rules: they may fail, be cancelled and repeat.
    judged: Collection[str] = ()
    #: Broken promises that the fault itself observed.
    broken: Collection[str] = ()
    #: Measurements of the fault itself, for the table.
    measured: Collection[str] = ()


def _is_possible() -> None:
    """Return None: any machine can inject the fault."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of failure."""

    name: str
    #: Injects it; ends it if it is an outage.
    inject: Callable[[Cluster], Injury]
    promised_seconds: float
    #: Whether no job may begin a second time.
    repeats_nothing: bool = False
    refuses_nothing: bool = False
    #: The brokers with which the fault makes a difference.
    brokers: Collection[str] = BROKERS
    plan: Plan = field(default_factory=Plan)
    #: Returns why this machine cannot inject it; None if it can.
    impossible: Callable[[], str | None] = _is_possible
    #: Whether it uses all cores, so that no other fault is measured at the same time.
    runs_alone: bool = False
