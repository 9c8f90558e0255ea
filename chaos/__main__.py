"""Break everything under load, and count: `python -m chaos --broker redis --fault WORD --jobs 2000`.

It prints a table, and ends with 1 where a promise was not kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from chaos.arena import open_arena
from chaos.faults import FAULTS, Fault
from chaos.verdict import Verdict, judge
from harness.servers.server import private_folder

BROKERS = ("redis", "rabbitmq")


def main() -> int:
    options = _options()
    verdicts: list[Verdict] = []
    impossible = 0
    for broker in options.broker or BROKERS:
        for fault in FAULTS:
            if options.fault and not any(word in fault.name for word in options.fault):
                continue
            if reason := fault.impossible():
                print(f"{broker}: {fault.name}: skipped, {reason}", file=sys.stderr)
                impossible += 1
                continue
            verdicts.append(strike(broker, fault, jobs=options.jobs, per_second=options.rate, keep=options.keep))
            print(row(verdicts[-1]), flush=True)
    print(table(verdicts))
    return int(not all(v.is_kept for v in verdicts) or (bool(os.environ.get("CI")) and impossible > 0))


def strike(broker: str, fault: Fault, *, jobs: int, per_second: float, keep: Path | None = None) -> Verdict:
    """Do one fault to a fresh system under load."""
    with private_folder() as scratch:
        folder = scratch
        if keep:
            folder = keep / f"{broker}-{FAULTS.index(fault):02d}"
            folder.mkdir(parents=True)
        with open_arena(broker, folder, jobs=jobs, per_second=per_second) as arena:
            arena.load.start()
            time.sleep(2)
            injury = fault.strike(arena)
            arena.load.finish()
            return judge(arena, fault, injury)


_HEAD = ("broker", "fault", "accepted", "finished", "lost", "run twice", "repeated", "recovery", "promised", "kept")


def row(verdict: Verdict) -> str:
    """A verdict as a row of a Markdown table."""
    recovery = "never" if verdict.recovery_seconds is None else f"{verdict.recovery_seconds:.1f} s"
    cells = (
        verdict.broker,
        verdict.fault,
        verdict.accepted,
        verdict.finished,
        verdict.lost,
        verdict.twice,
        verdict.repeated,
        recovery,
        f"{verdict.promised_seconds:g} s",
        "yes" if verdict.is_kept else f"NO ({_blame(verdict)})",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _blame(verdict: Verdict) -> str:
    counts = {"invented": verdict.invented, "untrue": verdict.untrue, "failed": verdict.failed}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "see the row"


def table(verdicts: list[Verdict]) -> str:
    """All verdicts as a Markdown table."""
    lines = ["", "| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD), *map(row, verdicts)]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break everything under load, and count.")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this one")
    parser.add_argument("--fault", action="append", metavar="WORD", help="only those whose names hold this")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of each load (%(default)s)")
    parser.add_argument("--rate", type=float, default=25, help="jobs in a second that come one by one (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for what every process has printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
