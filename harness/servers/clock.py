"""A clock for a server alone, which steps while the server runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ava.errors import ServerProgramMissing

_FOLDERS = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime")


class SteppedClock:
    """The clock of the processes that run with its `environ`; only their time of day steps, as on a real host."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock"
        self.step(0)

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables that make a server use this clock. Raises `ServerProgramMissing`."""
        # Without threads, because PostgreSQL asks for the time in signal handlers, which may wait for no mutex.
        if (library := faketime_library("libfaketime.so.1")) is None:
            raise ServerProgramMissing("libfaketime is not installed; on Debian: apt-get install faketime")
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            # It is shared by the number of a process, and the server has that of its launcher, of another account.
            "FAKETIME_DISABLE_SHM": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Step to so many seconds before (negative) or after the machine's time."""
        # Renamed, because it is read at every moment, by another account.
        whole = self._path.with_suffix(".new")
        whole.write_text(f"{seconds:+d}\n")
        whole.chmod(0o644)
        os.replace(whole, self._path)


def faketime_library(name: str = "libfaketimeMT.so.1") -> str | None:
    """Returns the path of a library of libfaketime, by default of that for threads; None if it is not installed."""
    return next((str(Path(folder) / name) for folder in _FOLDERS if (Path(folder) / name).exists()), None)
