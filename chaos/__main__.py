"""Break everything under load, and count: `python -m chaos --broker redis --fault WORD --jobs 2000`.

It prints a table, and exits with 1 if a promise was not kept. `--table docs/recovery.md` writes it there as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

from chaos import table
from chaos.cluster import BROKERS, open_cluster
from chaos.fault import Fault
from chaos.faults import FAULTS
from chaos.result import Result, await_starts, evaluate
from harness.servers.server import private_folder


def main() -> int:
    options = _options()
    results: list[Result] = []
    missing = failed = 0
    for broker in options.broker or BROKERS:
        for fault in FAULTS:
            if broker not in fault.brokers or not _is_named(fault, options.fault):
                continue
            if reason := fault.impossible():
                print(f"{broker}: {fault.name}: skipped, {reason}", file=sys.stderr)
                missing += 1
                continue
            try:
                results.append(run_fault(broker, fault, jobs=options.jobs, per_second=options.rate, keep=options.keep))
            except Exception:
                # The other faults are worth their run.
                print(f"{broker}: {fault.name}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                failed += 1
            else:
                print(table.row(results[-1]), flush=True)
    print("\n" + table.table(results))
    is_incomplete = failed > 0 or (missing > 0 and bool(os.environ.get("CI") or options.table))
    if options.table and is_incomplete:
        print(f"{options.table} is left as it is, because a row is missing.", file=sys.stderr)
    elif options.table:
        table.write(options.table, results)
    return int(is_incomplete or not all(result.is_kept for result in results))


def _is_named(fault: Fault, words: list[str] | None) -> bool:
    return not words or any(word in fault.name for word in words)


def run_fault(broker: str, fault: Fault, *, jobs: int, per_second: float, keep: Path | None = None) -> Result:
    """Inject one fault into a fresh system under load. Returns what it cost."""
    with private_folder() as scratch:
        folder = scratch
        if keep:
            folder = keep / f"{broker}-{FAULTS.index(fault):02d}"
            folder.mkdir(parents=True)
        with open_cluster(broker, folder, jobs=jobs, per_second=per_second, plan=fault.plan) as cluster:
            cluster.load.start()
            time.sleep(2)
            injury = fault.inject(cluster)
            await_starts(cluster, injury)
            cluster.load.finish()
            result = evaluate(cluster, fault, injury)
            (folder / "not_replicated").write_text("\n".join(sorted(injury.uncommitted)))
            return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break everything under load, and count.")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this broker")
    parser.add_argument("--fault", action="append", metavar="WORD", help="only faults whose names contain this")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of each load (%(default)s)")
    parser.add_argument("--rate", type=float, default=25, help="jobs a second that come one by one (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the output of every process")
    parser.add_argument("--table", type=Path, help="a page whose marked block becomes the table of this run")
    options = parser.parse_args()
    if options.table and (options.fault or options.broker):
        parser.error("--table needs every fault on both brokers")
    return options


if __name__ == "__main__":
    sys.exit(main())
