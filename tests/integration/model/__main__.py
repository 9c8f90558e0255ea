"""`python -m tests.integration.model`: run random histories of jobs for as long as one likes."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ava.store.engine.database import Database
from harness.servers.postgres import Databases, running_postgres
from tests.conftest import migrate
from tests.integration.model.coverage import undriven
from tests.integration.model.recorder import Recorder, open_database
from tests.integration.model.runner import STEPS_PER_HISTORY, Runner


@contextmanager
def model_server() -> Iterator[Databases]:
    """A PostgreSQL server of its own."""
    with running_postgres(in_memory=True) as server:
        migrate(server.url)
        databases = Databases(server)
        try:
            yield databases
        finally:
            databases.close()


@contextmanager
def model_database(recorder: Recorder) -> Iterator[Database]:
    """A database on a server of its own."""
    with model_server() as databases, databases.fresh() as url:
        database = open_database(url, recorder)
        try:
            yield database
        finally:
            database.close()


def main() -> int:
    """Run histories. Returns 1 if one fails."""
    parser = argparse.ArgumentParser(prog="make model", description="Run random histories of jobs.")
    parser.add_argument("--seed", type=int, default=None, help="the first history's; default: a random one")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run histories (60)")
    parser.add_argument("--histories", type=int, default=None, help="how many to run, in place of --seconds")
    parser.add_argument("--steps", type=int, default=STEPS_PER_HISTORY, help="the steps of one history (%(default)s)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a history that fails")
    parser.add_argument("--undriven", action="store_true", help="fail if a statement was not driven")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    recorder, failures = Recorder(), 0
    with model_database(recorder) as database:
        runner = Runner(database=database, recorder=recorder, steps_per_history=options.steps)
        began = time.monotonic()
        while _is_to_go_on(options, runner.histories, began) and (options.keep_going or not failures):
            failure = runner.run(seed + runner.histories)
            if failure is not None:
                failures += 1
                sys.stdout.write(f"{failure}\n\n")
    seconds = time.monotonic() - began
    steps = sum(runner.done.values())
    sys.stdout.write(
        f"{runner.histories} histories from seed {seed}, {steps} steps, {seconds:.0f} s, {failures} failed\n"
    )
    missing = sorted(undriven(recorder))
    if missing:
        sys.stdout.write(f"not driven: {', '.join(missing)}\n")
    return 1 if failures or (options.undriven and missing) else 0


def _is_to_go_on(options: argparse.Namespace, histories: int, began: float) -> bool:
    if options.histories is not None:
        return histories < options.histories
    return time.monotonic() - began < options.seconds


if __name__ == "__main__":
    sys.exit(main())
