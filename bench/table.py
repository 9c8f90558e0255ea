"""The table of results: medians of the rounds of AVA Jobs and the baseline, and the promises.

Each measure stores its latest results in bench/performance.json, with the revision and the day. They are the source of
the table in bench/RESULTS.md, so one measure can be repeated without the others.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.servers import ROOT, git_revision

Figures = dict[str, float]
OURS, BASELINE = "AVA Jobs", "baseline"
_DATA = ROOT / "bench" / "performance.json"
_PAGE = ROOT / "bench" / "RESULTS.md"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The bound of a figure, `least` or `most`; with `is_ratio` of its ratio to the baseline's in the same run."""

    least: float | None = None
    most: float | None = None
    is_ratio: bool = True

    def __str__(self) -> str:
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return bound + (" ×" if self.is_ratio else "")

    def holds(self, value: float, ratio: float | None) -> bool | None:
        """Return True if the promise is kept, None without a baseline to compare with."""
        found = ratio if self.is_ratio else value
        if found is None:
            return None
        return found >= self.least if self.least is not None else found <= (self.most or 0)


_BROKERS = ("redis", "rabbitmq")


def _of_brokers(measure: str, figure: str, **bound: float) -> dict[tuple[str, str], Promise]:
    return {(f"{measure}, {broker}", figure): Promise(**bound, is_ratio=False) for broker in _BROKERS}


#: By measure and figure; an empty figure means all figures of the measure.
PROMISES: dict[tuple[str, str], Promise] = {
    ("accept, 1 a request", "jobs/s"): Promise(least=1.25),
    ("accept, 1 a request", "p99 ms"): Promise(most=1.0),
    ("accept, 100 a request", "jobs/s"): Promise(least=10),
    ("accept, 8 connections, gthread", "jobs/s"): Promise(least=2),
    ("accept, 8 connections, sync", "jobs/s"): Promise(least=1.6),
    ("accept, 8 connections, gthread", "p99 ms"): Promise(most=1),
    ("accept, 8 connections, sync", "p99 ms"): Promise(most=1),
    ("accept, 64 connections, gthread", "jobs/s"): Promise(least=3),
    ("accept, 64 connections, sync", "jobs/s"): Promise(least=3),
    ("accept while draining", "jobs/s"): Promise(least=1.25),
    ("accept while draining", "drained meanwhile, jobs/s"): Promise(least=1),
    ("drain, Redis", "jobs/s"): Promise(least=1.7),
    ("drain, RabbitMQ", "jobs/s"): Promise(least=1.7),
    ("drain, Redis, beside bare Celery on Redis", "jobs/s"): Promise(least=3),
    ("drain, RabbitMQ, beside bare Celery on Redis", "jobs/s"): Promise(least=3),
    ("drain, Redis, beside Oban, 10 slots", "jobs/s"): Promise(least=1),
    **{
        (f"jobs of 10 ms, 8 processes, {broker}, beside {peer} Celery", figure): promise
        for broker in _BROKERS
        for peer, figure, promise in (
            ("honest", "jobs/s", Promise(least=1.15)),
            ("honest", "share of the best possible", Promise(least=0.7, is_ratio=False)),
            ("honest", "CPU ms a job", Promise(most=2.2, is_ratio=False)),
            ("bare", "jobs/s", Promise(least=0.95)),
        )
    },
    **{
        (f"start latency, {load}", figure): Promise(most=most)
        for load in ("idle", "half the baseline's drain rate")
        for figure, most in (("p50 ms", 0.65), ("p99 ms", 0.75))
    },
    ("start latency, priority 1 of 100,000", "p99 ms"): Promise(most=4.0),
    ("drain, one webhook subscribed", "jobs/s"): Promise(least=0.85),
    ("2,000 jobs that wait 10 s in slots", "share of the best possible"): Promise(least=0.95, is_ratio=False),
    ("2,000 jobs that wait 10 s in slots", "an urgent job starts after ms"): Promise(most=1.5),
    ("no-ops in 10 + 10 slots, beside Oban, 10 slots", "jobs/s"): Promise(least=1),
    ("100,000 jobs contained", "all held after s"): Promise(most=10, is_ratio=False),
    ("start latency beside 100,000 contained jobs", "p95 ms"): Promise(most=1.5),
    ("1,000 cancels around the end", "others harmed"): Promise(most=0, is_ratio=False),
    ("1,000 cancels around the end", "contradictory records"): Promise(most=0, is_ratio=False),
    ("1,000 short jobs beside runs above their memory limit", "seconds"): Promise(most=1.1),
    ("1,000 short jobs beside runs above their memory limit", "latest end after its limit, s"): Promise(
        most=2, is_ratio=False
    ),
    ("delay()", "p50 ms"): Promise(most=2),
    ("delay() in a loop, a job", "p50 ms"): Promise(most=1),
    ("delay() in a group, a job", "p50 ms"): Promise(most=1),
    ("drain, 5 million finished", "jobs/s"): Promise(least=0.9),
    ("p99 at 5 million jobs", ""): Promise(most=1.5),
    ("log lines", "lines/s"): Promise(least=30_000, is_ratio=False),
    ("schedules", "alone: p99 ms late"): Promise(most=300, is_ratio=False),
    ("schedules", "at once: all jobs written after s"): Promise(most=5, is_ratio=False),
    ("schedules", "at once: share of a plain backlog's rate"): Promise(least=0.9, is_ratio=False),
    ("schedules", "idle: share of a core %"): Promise(most=2, is_ratio=False),
    **_of_brokers("shares", "farthest from its due %", most=3),
    **_of_brokers("shares", "Jain's index of 50 tenants", least=0.99),
    **_of_brokers("limit of 5", "share of the limit used", least=0.85),
    **_of_brokers("rate of 100 a minute", "most in any minute", most=100),
    **_of_brokers("rate of 100 a minute", "share of the rate used", least=0.97),
    ("polls of the feed, 10,000 tenants", "poll p99 ms"): Promise(most=20, is_ratio=False),
    ("polls of the feed, 10,000 tenants", "% of a core"): Promise(most=5, is_ratio=False),
    # Twice a job's duration, and 0.3 s.
    **_of_brokers("one job behind 100,000", "p99 ms", most=400),
    ("footprint", "ava worker ready s"): Promise(most=2, is_ratio=False),
    ("footprint", "ava jobs list s"): Promise(most=0.6, is_ratio=False),
    ("footprint", "idle node of two processes MiB"): Promise(most=200, is_ratio=False),
}


class Table:
    """The figures of this run, and the latest ones of other measures."""

    def __init__(self, *, is_stored: bool) -> None:
        """`is_stored`: whether to store the figures in bench/; those of a quick run should not be."""
        self._is_stored = is_stored
        self._rounds: dict[tuple[str, str], list[Figures]] = {}
        self._notes: dict[str, str] = {}

    def note(self, measure: str, why: str) -> None:
        """Explain in the table why a measure has no figures."""
        self._notes[measure] = why
        print(f"  {measure}: {why}", flush=True)

    def add(self, measure: str, system: str, figures: Figures) -> None:
        """Add one round's figures, and print them."""
        self._rounds.setdefault((measure, system), []).append(figures)
        shown = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"  {measure}: {system}: {shown}", flush=True)

    def show(self) -> None:
        """Print this run's table."""
        print("\n" + "\n".join(_lines(self._entries())))

    def keep(self) -> None:
        """Write the figures so far into bench/."""
        if self._is_stored:
            stored = json.loads(_DATA.read_text()) if _DATA.exists() else {}
            stored.update(self._entries())
            _DATA.write_text(json.dumps(stored, indent=1) + "\n")
            _write_page(_PAGE, stored)

    def _entries(self) -> dict[str, dict[str, object]]:
        taken = {measure: self._entry(measure) for measure in dict.fromkeys(measure for measure, _ in self._rounds)}
        return taken | {measure: {"figures": {}, "note": why, **_taken_now()} for measure, why in self._notes.items()}

    def _entry(self, measure: str) -> dict[str, object]:
        ours, base = self._median(measure, OURS), self._median(measure, BASELINE)
        return {
            "figures": {name: [base.get(name), value] for name, value in ours.items()},
            "rounds": len(self._rounds[measure, OURS]),
            **_taken_now(),
        }

    def _median(self, measure: str, system: str) -> Figures:
        rounds = self._rounds.get((measure, system), [])
        return {name: statistics.median(each[name] for each in rounds) for name in (rounds[0] if rounds else {})}


def _taken_now() -> dict[str, object]:
    return {"revision": git_revision(), "day": f"{datetime.now(UTC):%Y-%m-%d}"}


def _lines(entries: dict[str, dict[str, object]]) -> list[str]:
    found = [
        "| measure | figure | baseline | AVA Jobs | ratio | promised | kept | rounds, revision |",
        "|---|---|---:|---:|---:|---|---|---|",
    ]
    for measure, entry in entries.items():
        if note := entry.get("note"):
            found.append(f"| {measure} | {note} |  |  |  |  |  | `{entry['revision']}` |")
            continue
        name_once, taken_once = measure, f"{entry['rounds']}, `{entry['revision']}`"
        for name, (base, ours) in entry["figures"].items():  # type: ignore[attr-defined]
            ratio = ours / base if base else None
            promise = PROMISES.get((measure, name)) or PROMISES.get((measure, ""))
            holds = None if promise is None else promise.holds(ours, ratio)
            cells = (
                name_once,
                name,
                _number(base),
                _number(ours),
                "" if ratio is None else f"{ratio:.2f}",
                promise or "",
                {None: "", True: "yes", False: "**no**"}[holds],
                taken_once,
            )
            found.append("| " + " | ".join(str(cell) for cell in cells) + " |")
            # Shown only in the first row of the measure.
            name_once = taken_once = ""
    return found


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


_BEGIN, _END = "<!-- The table that `make bench` writes begins here. -->", "<!-- It ends here. -->"


def _write_page(page: Path, stored: dict[str, dict[str, object]]) -> None:
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    day = max(str(entry["day"]) for entry in stored.values())
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    taken = f"Last taken on {day}: {machine}, everything on one machine."
    page.write_text("\n".join((before + _BEGIN, "", taken, "", *_lines(stored), "", _END + after)))
