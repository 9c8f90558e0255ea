"""`python -m tools.flaky`: run the suite several times with new seeds, and list the tests that failed at least once.

Arguments it does not know go to pytest. The report of a round with a failure is in build/flaky, under its seed.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

REPORTS = Path("build/flaky")
#: pytest ends with 0 if every test passed, with 1 if some failed, and with another number if it could not run them all.
_FAILED = 1


def failures(report: str) -> list[str]:
    """Return the ids of the tests that the summary of a report of pytest names as failed or broken."""
    return re.findall(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?= - |$)", report, flags=re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.flaky", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often the suite runs; 10 by default")
    options, arguments = parser.parse_known_args()
    seeds_by_test = defaultdict[str, list[int]](list)
    for number in range(1, options.rounds + 1):
        seed = random.SystemRandom().randrange(2**32)
        command = (sys.executable, "-m", "pytest", "-q", "--color=no", f"--randomly-seed={seed}", *arguments)
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        failed = failures(run.stdout)
        last_line = (run.stdout.splitlines() or [""])[-1]
        print(f"round {number} of {options.rounds}, seed {seed}: {last_line}", flush=True)
        if run.returncode:
            REPORTS.mkdir(parents=True, exist_ok=True)
            (REPORTS / f"{seed}.txt").write_text(run.stdout)
        if run.returncode > _FAILED or (run.returncode and not failed):
            failed.append(f"(pytest ended with {run.returncode})")
        for test in failed:
            seeds_by_test[test].append(seed)
    for test, seeds in sorted(seeds_by_test.items()):
        print(f"{test}: failed in {len(seeds)} of {options.rounds} rounds, seeds {', '.join(map(str, seeds))}")
    sys.exit(bool(seeds_by_test))


if __name__ == "__main__":
    main()
