"""A dispatcher whose schedules fire by the clock of a test: `python -m harness.shifted_dispatcher`.

The clock stands at the time in the file that `SHIFTED_CLOCK` names; all else of the dispatcher keeps the real time.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from ava import settings
from ava.dispatcher import dispatcher_process
from ava.dispatcher.duties.schedules import fire_due_schedules
from ava.services.due_firings import DueFirings
from ava.store.engine.database import Database

#: The variable of the environment that names the file.
VARIABLE = "SHIFTED_CLOCK"


def set_clock(file: Path, timestamp: datetime) -> None:
    """Set the clock of the dispatchers that read a file. They never read a part of it."""
    written = file.with_suffix(".new")
    written.write_text(timestamp.isoformat())
    written.replace(file)


def main() -> None:
    """Run a dispatcher until SIGTERM."""
    file = Path(os.environ[VARIABLE])

    def fire(database: Database, firings: DueFirings) -> int:
        return fire_due_schedules(database, firings, now=datetime.fromisoformat(file.read_text()))

    dispatcher_process.fire_due_schedules = fire  # type: ignore[assignment]  # the table of duties calls it
    dispatcher_process.run(settings.load())


if __name__ == "__main__":
    main()
