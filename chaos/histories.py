"""Random histories under kills, judged by the contract: `python -m chaos.histories --minutes 30 --seed 7`.

This is the fault of `make chaos` with a chosen duration. Prints a table with each violation and its seed, and exits
with 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import sys

from chaos.faults import histories
from chaos.suite import Suite


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--minutes", type=float, help="minutes of load")
    parser.add_argument("--seed", type=int, help="the seed of the histories and of the kills")
    parser.add_argument("--per-second", type=float, help="histories that begin each second")
    options, _ = parser.parse_known_args()
    # The suite runs each fault in another process, which inherits the environment.
    for name, value in (
        (histories.MINUTES, options.minutes),
        (histories.SEED, options.seed),
        (histories.RATE, options.per_second),
    ):
        if value is not None:
            os.environ[name] = str(value)
    suite = Suite(
        command="python -m chaos.histories",
        description=__doc__ or "",
        faults=histories.FAULTS,
        jobs=100,
        rate=1,
    )
    return suite.run([parser])


if __name__ == "__main__":
    sys.exit(main())
