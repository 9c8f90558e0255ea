"""The state of one run of measures: servers, the table, and the two systems, which are created on first use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.servers import Servers
from bench.systems import Baseline, FullOurs, Ours, System
from bench.table import Figures, Table


class Run:
    """Rounds of measures on shared servers."""

    def __init__(self, stack: ExitStack, table: Table, *, rounds: int, scale: float) -> None:
        """`scale`: the share of the full work, 1 for all of it."""
        self.servers = Servers(stack)
        self.table = table
        self.rounds = rounds
        self.scale = scale
        self._broker = ""
        self._systems: tuple[Baseline, Ours] | None = None
        self._full: dict[str, FullOurs] = {}

    def both(self, broker: str = "redis") -> tuple[Baseline, Ours]:
        """Return both systems. Another broker restarts them with empty databases."""
        if self._systems is None or broker != self._broker:
            self._broker = broker
            self._systems = Baseline(self.servers, broker), Ours(self.servers, broker)
        return self._systems

    def full(self, broker: str = "redis") -> FullOurs:
        """Return AVA Jobs with tags, schemas, limits and a schedule."""
        if broker not in self._full:
            self._full[broker] = FullOurs(self.servers, broker)
        return self._full[broker]

    def count(self, whole: int, *, least: int = 1) -> int:
        """Return this run's share of a number."""
        return max(least, round(whole * self.scale))

    def in_turns(
        self, measure: str, systems: tuple[System, ...], act: Callable[[System], Figures], *, rounds: int | None = None
    ) -> None:
        """Measure systems alternately."""
        for _ in range(rounds or self.rounds):
            for system in systems:
                self.table.add(measure, system.name, act(system))

    def alone(self, measure: str, act: Callable[[Ours], Figures], *, rounds: int | None = None) -> None:
        """Measure only AVA Jobs."""
        ours = self.both()[1]
        for _ in range(rounds or self.rounds):
            self.table.add(measure, ours.name, act(ours))


def warm(system: System, act: Callable[[int], Figures]) -> Figures:
    """Measure a system with a newly started API and processes."""
    with system.api() as port, system.workers():
        return act(port)
