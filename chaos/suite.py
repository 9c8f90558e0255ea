"""Run the faults of a command, print the table, and write it into a page."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from chaos import table
from chaos.cluster import BROKERS, open_cluster
from chaos.fault import Fault
from chaos.result import Result, await_starts, evaluate
from harness.servers.server import private_folder

_Run = tuple[str, Fault]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The faults of one command."""

    #: Its command, such as `python -m chaos`.
    command: str
    description: str
    faults: Sequence[Fault]
    #: Default number of jobs per load.
    jobs: int
    #: Default rate of the jobs that are triggered one by one, per second.
    rate: float = 25
    at_once: int = 1

    def run(self) -> int:
        """Run the faults that the command line selects. Returns the exit code: 0 if every promise was kept."""
        options = self._options()
        runs: list[_Run] = []
        missing = 0
        for broker in options.broker or BROKERS:
            for fault in self.faults:
                if broker not in fault.brokers or not _is_named(fault, options.fault):
                    continue
                if reason := fault.impossible():
                    print(f"{broker}: {fault.name}: skipped, {reason}", file=sys.stderr)
                    missing += 1
                else:
                    runs.append((broker, fault))
        results = self._results(runs, options)
        print("\n" + table.table(results))
        is_incomplete = len(results) < len(runs) or (missing > 0 and bool(os.environ.get("CI") or options.table))
        if options.table and is_incomplete:
            print(f"{options.table} is left as it is, because a row is missing.", file=sys.stderr)
        elif options.table:
            table.write(options.table, results, command=self.command)
        return int(is_incomplete or not all(result.holds for result in results))

    def _results(self, runs: Sequence[_Run], options: argparse.Namespace) -> list[Result]:
        """Run faults concurrently, then those that use all cores one by one. Returns the completed faults' results."""
        found: dict[int, Result] = {}
        for is_alone in (False, True):
            # A separate process for each, because a fault may change its process's state.
            at_once = 1 if is_alone else options.at_once
            with ProcessPoolExecutor(at_once, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
                futures = {
                    pool.submit(self._run_fault, broker, fault, options): number
                    for number, (broker, fault) in enumerate(runs)
                    if fault.runs_alone == is_alone
                }
                try:
                    for future in as_completed(futures):
                        number = futures[future]
                        if result := _result(*runs[number], future):
                            found[number] = result
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        return [found[number] for number in sorted(found)]

    def _run_fault(self, broker: str, fault: Fault, options: argparse.Namespace) -> Result:
        """Inject one fault into a new system under load. Returns its cost."""
        with private_folder() as scratch:
            folder = scratch
            if options.keep:
                folder = options.keep / f"{broker}-{self.faults.index(fault):02d}"
                folder.mkdir(parents=True)
            with open_cluster(broker, folder, jobs=options.jobs, per_second=options.rate, plan=fault.plan) as cluster:
                cluster.load.start()
                time.sleep(2)
                injury = fault.inject(cluster)
                await_starts(cluster, injury)
                cluster.load.finish()
                result = evaluate(cluster, fault, injury)
                (folder / "not_replicated").write_text("\n".join(sorted(injury.uncommitted)))
                return result

    def _options(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(prog=self.command, description=self.description)
        parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this broker")
        parser.add_argument("--fault", action="append", metavar="WORD", help="only faults whose names contain this")
        parser.add_argument("--jobs", type=int, default=self.jobs, help="jobs of each load (%(default)s)")
        parser.add_argument(
            "--rate", type=float, default=self.rate, help="jobs a second that come one by one (%(default)s)"
        )
        parser.add_argument(
            "--at-once",
            type=int,
            default=self.at_once,
            help="faults side by side (%(default)s)",
        )
        parser.add_argument("--keep", type=Path, help="a folder for the output of every process")
        parser.add_argument("--table", type=Path, help="a page whose marked block becomes the table of this run")
        options = parser.parse_args()
        if options.table and (options.fault or options.broker):
            parser.error("--table needs every fault on both brokers")
        if options.keep and options.keep.exists() and any(options.keep.iterdir()):
            parser.error("--keep needs an empty folder")
        return options


def _is_named(fault: Fault, words: list[str] | None) -> bool:
    return not words or any(word in fault.name for word in words)


def _result(broker: str, fault: Fault, future: Future[Result]) -> Result | None:
    """Print the row of a completed fault and return its result; None if it failed."""
    try:
        result = future.result()
    except Exception:
        # Run the other faults anyway.
        print(f"{broker}: {fault.name}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return None
    print(table.row(result), flush=True)
    return result
