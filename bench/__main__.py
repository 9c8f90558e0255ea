"""`python -m bench [accept] [drain] [latency] [lines] …`: measure ours and the baseline, turn and turn about.

Prints one table of medians and ratios, and keeps it in docs/performance.md when everything was measured.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import measures
from bench.ground import ROOT, Ground, git_revision
from bench.measures import Figures
from bench.systems import Afternoon, Ours, System

_WHAT = ("accept", "bulk", "drain", "drain-rabbitmq", "latency", "lines")
_REPORT = ROOT / "docs" / "performance.md"


class Table:
    """The figures of every round, and what they come to."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str], list[Figures]] = {}

    def add(self, measure: str, system: str, figures: Figures) -> None:
        """Keep one round's figures, and say them."""
        self._rounds.setdefault((measure, system), []).append(figures)
        told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"  {measure}: {system}: {told}", flush=True)

    def median(self, measure: str, system: str) -> Figures:
        """The median of each figure."""
        rounds = self._rounds.get((measure, system), [])
        return {name: statistics.median(each[name] for each in rounds) for name in (rounds[0] if rounds else {})}

    def lines(self) -> list[str]:
        """The table, in Markdown."""
        found = ["| measure | figure | afternoon | AVA Jobs | ratio |", "|---|---|---|---|---|"]
        for measure in dict.fromkeys(measure for measure, _ in self._rounds):
            base, ours = self.median(measure, "afternoon"), self.median(measure, "AVA Jobs")
            for name, value in ours.items():
                other = base.get(name)
                ratio = f"{value / other:.2f}" if other else ""
                found.append(f"| {measure} | {name} | {f'{other:,.1f}' if other else ''} | {value:,.1f} | {ratio} |")
        return found


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="MEASURE", help="what to measure; all where none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that everything works")
    given = parser.parse_args()
    what, scale, table = given.what or list(_WHAT), 0.1 if given.quick else 1.0, Table()
    with ExitStack() as stack:
        ground = Ground(stack)
        if {"accept", "bulk", "drain", "latency", "lines"} & set(what):
            _on_redis(ground, table, what, given.rounds, scale)
        if "drain-rabbitmq" in what:
            both = [Afternoon(ground, "rabbitmq"), Ours(ground, "rabbitmq")]
            _in_turns(
                table, "drain, RabbitMQ", both, given.rounds, lambda s: measures.drain(s, jobs=int(20_000 * scale))
            )
    print("\n" + "\n".join(table.lines()))
    if set(what) == set(_WHAT) and not given.quick:
        _keep(_REPORT, table)


def _on_redis(ground: Ground, table: Table, what: list[str], rounds: int, scale: float) -> None:
    afternoon, ours = Afternoon(ground, "redis"), Ours(ground, "redis")
    both: list[System] = [afternoon, ours]
    if "accept" in what:
        with afternoon.api() as one, ours.api() as other:
            ports = {afternoon.name: one, ours.name: other}
            requests = int(3000 * scale)
            for system in both:
                measures.accept(system, ports[system.name], requests=max(100, requests // 10))
            _in_turns(table, "accept", both, rounds, lambda s: measures.accept(s, ports[s.name], requests=requests))
    if "bulk" in what:
        with ours.api() as port:
            _in_turns(
                table, "accept, 100 a request", [ours], rounds,
                lambda _: measures.accept_bulk(ours, port, requests=int(300 * scale)),
            )  # fmt: skip
    if "drain" in what:
        _in_turns(table, "drain, Redis", both, rounds, lambda s: measures.drain(s, jobs=int(20_000 * scale)))
    if "latency" in what:
        _in_turns(table, "start latency, idle", both, rounds, lambda s: _latency(s, int(200 * scale)))
    if "lines" in what:
        _in_turns(table, "log lines", [ours], rounds, lambda _: measures.log_lines(ours, lines=int(200_000 * scale)))


def _latency(system: System, jobs: int) -> Figures:
    # Fresh processes each time: it moves more between two starts than between two rounds.
    with system.api() as port, system.workers():
        return measures.start_latency(system, port, jobs=max(30, jobs))


def _in_turns(table: Table, measure: str, systems: list[System], rounds: int, act: Callable[[System], Figures]) -> None:
    for _ in range(rounds):
        for system in systems:
            table.add(measure, system.name, act(system))


def _keep(report: Path, table: Table) -> None:
    report.write_text(
        "# Performance\n\n"
        "`make bench` starts its own servers, runs AVA Jobs and a baseline of the afternoon kind\n"
        "(`bench/afternoon.py`) on them, turn and turn about, and prints this table: medians of all rounds, and ours\n"
        "divided by the baseline's.\n"
        "PostgreSQL's durability is on for both. Absolute numbers move with the machine; compare the ratios.\n\n"
        f"Taken on {datetime.now(UTC):%Y-%m-%d} at revision `{git_revision()}`, Python {platform.python_version()}, "
        f"{platform.machine()}, everything on one machine.\n\n" + "\n".join(table.lines()) + "\n"
    )
    print(f"Kept in {report}.")


if __name__ == "__main__":
    main()
