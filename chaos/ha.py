"""Faults of installations with several servers of a kind, under load, and what each costs: `python -m chaos.ha`.

It prints a table, and exits with 1 if a promise was not kept. `--table chaos/RESULTS.md` writes it
there as well; `--fault WORD` chooses rows.
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
