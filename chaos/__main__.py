"""Break everything under load, and count: `python -m chaos --broker redis --fault WORD --jobs 2000`.

Prints a table, and exits with 1 if a promise was broken. `--table chaos/RESULTS.md` also writes it to that page.
"""

from __future__ import annotations

import sys

from chaos.faults import FAULTS
from chaos.suite import Suite

if __name__ == "__main__":
    sys.exit(
        Suite(
            command="python -m chaos",
            description="Break everything under load, and count.",
            faults=FAULTS,
            jobs=1000,
            at_once=2,
        ).run()
    )
