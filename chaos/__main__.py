"""Break everything under load, and count: `python -m chaos --broker redis --fault WORD --jobs 2000`.

It prints a table, and exits with 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from chaos.cluster import open_cluster
from chaos.faults import FAULTS, Fault
from chaos.result import Result, evaluate
from harness.servers.server import private_folder

BROKERS = ("redis", "rabbitmq")


def main() -> int:
    options = _options()
    results: list[Result] = []
    impossible = 0
    for broker in options.broker or BROKERS:
        for fault in FAULTS:
            if options.fault and not any(word in fault.name for word in options.fault):
                continue
            if reason := fault.impossible():
                print(f"{broker}: {fault.name}: skipped, {reason}", file=sys.stderr)
                impossible += 1
                continue
            results.append(run_fault(broker, fault, jobs=options.jobs, per_second=options.rate, keep=options.keep))
            print(row(results[-1]), flush=True)
    print(table(results))
    return int(not all(v.is_kept for v in results) or (bool(os.environ.get("CI")) and impossible > 0))


def run_fault(broker: str, fault: Fault, *, jobs: int, per_second: float, keep: Path | None = None) -> Result:
    """Inject one fault into a fresh system under load. Returns what it cost."""
    with private_folder() as scratch:
        folder = scratch
        if keep:
            folder = keep / f"{broker}-{FAULTS.index(fault):02d}"
            folder.mkdir(parents=True)
        with open_cluster(broker, folder, jobs=jobs, per_second=per_second) as cluster:
            cluster.load.start()
            time.sleep(2)
            injury = fault.inject(cluster)
            cluster.load.finish()
            return evaluate(cluster, fault, injury)


_HEAD = ("broker", "fault", "accepted", "finished", "lost", "run twice", "repeated", "recovery", "promised", "kept")


def row(result: Result) -> str:
    """Returns a result as a row of a Markdown table."""
    recovery = "never" if result.recovery_seconds is None else f"{result.recovery_seconds:.1f} s"
    cells = (
        result.broker,
        result.fault,
        result.accepted,
        result.finished,
        result.lost,
        result.twice,
        result.repeated,
        recovery,
        f"{result.promised_seconds:g} s",
        "yes" if result.is_kept else f"NO ({_blame(result)})",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _blame(result: Result) -> str:
    counts = {"invented": result.invented, "untrue": result.untrue, "failed": result.failed}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "see the row"


def table(results: list[Result]) -> str:
    """Returns all results as a Markdown table."""
    lines = ["", "| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD), *map(row, results)]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break everything under load, and count.")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this broker")
    parser.add_argument("--fault", action="append", metavar="WORD", help="only faults whose names contain this")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of each load (%(default)s)")
    parser.add_argument("--rate", type=float, default=25, help="jobs a second that come one by one (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the output of every process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
