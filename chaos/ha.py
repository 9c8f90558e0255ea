"""Inject faults into installations with several servers of a kind, under load: `python -m chaos.ha`.

Prints a table, and exits with 1 if a promise was broken. `--table chaos/RESULTS.md` also writes it to that page;
`--fault WORD` selects rows.
"""

from __future__ import annotations

import sys

from chaos.faults import availability, restores
from chaos.suite import Suite

if __name__ == "__main__":
    sys.exit(
        Suite(
            command="python -m chaos.ha",
            description="Let servers and processes fail over under load, and count.",
            faults=(*availability.FAULTS, *restores.FAULTS),
            jobs=2000,
        ).run()
    )
