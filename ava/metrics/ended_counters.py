"""The counters of processes that have ended: merged into one file of each kind, so that their files do not pile up.

prometheus-client gives each process files of its own, 64 KiB each, and reads those of all processes at every scrape. It
never deletes the ones that hold counters, because their values must still count.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client.mmap_dict import MmapedDict

from ava.metrics import allocated_files

_log = logging.getLogger(__name__)

#: What stands in the place of a process id in the name of a merged file.
_ENDED = "ended"
#: The files that hold sums. What a gauge measures ends with its process.
_SUMMED = ("counter", "histogram", "summary")


def merge(folder: Path) -> int:
    """Merge the files of ended processes, unless another process is at it. Returns the number of files merged."""
    if not _ended_files(folder):
        return 0
    try:
        with _locked(folder, fcntl.LOCK_EX):
            # Listed again, because another process may have merged them meanwhile.
            files = _ended_files(folder)
            for kind in _SUMMED:
                _merge_kind(folder, kind, [file for file in files if file.name.startswith(f"{kind}_")])
            for file in files:
                file.unlink()
    except BlockingIOError:
        return 0
    except OSError as error:
        # The folder has no space. They are merged once it has.
        _log.warning("Counters of ended processes cannot be merged: %s", error.strerror)
        return 0
    return len(files)


@contextmanager
def no_merge(folder: Path) -> Iterator[None]:
    """No values are merged meanwhile, so that none is read twice. Raises `BlockingIOError` during a merge."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        yield


def _ended_files(folder: Path) -> list[Path]:
    """Returns the files of processes that are gone. One that waits to be reaped is not gone yet."""
    found = []
    for file in folder.glob("*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            found.append(file)
    return found


def _merge_kind(folder: Path, kind: str, files: Sequence[Path]) -> None:
    if not files:
        return
    merged, unfinished = folder / f"{kind}_{_ENDED}.db", folder / f"{kind}_{_ENDED}.unfinished"
    sums: dict[str, float] = defaultdict(float)
    for file in (merged, *files):
        for key, value in _read(file):
            sums[key] += value
    unfinished.unlink(missing_ok=True)
    allocated_files.allocate(str(unfinished))
    values = MmapedDict(str(unfinished))  # type: ignore[no-untyped-call]  # it has no annotations
    for key, value in sums.items():
        values.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]
    os.replace(unfinished, merged)


def _read(file: Path) -> list[tuple[str, float]]:
    """Returns the values of a file; none if its process was killed before it wrote one."""
    try:
        return [(key, value) for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))]  # type: ignore[no-untyped-call]
    except (FileNotFoundError, struct.error):
        return []
    except (RuntimeError, UnicodeDecodeError) as error:
        _log.warning("Counters of an ended process cannot be read, they are dropped: %s", error)
        return []
