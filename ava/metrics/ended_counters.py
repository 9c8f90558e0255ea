"""Merge the counters of ended processes into one file of each kind, so that their files do not pile up.

prometheus-client gives each process separate files of 64 KiB, and reads all files at every scrape. It never deletes
counter files, because their values must still count.
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

#: Replaces the process id in the name of a merged file.
_ENDED = "ended"
#: Kinds of files that are summed. Gauges end with their process.
_SUMMED = ("counter", "histogram", "summary")


def merge(folder: Path) -> int:
    """Merge the files of ended processes, unless another process is merging. Returns the number of files merged."""
    if not _ended_files(folder):
        return 0
    try:
        with _locked(folder, fcntl.LOCK_EX):
            # List the files again, because another process may have merged some.
            files = _ended_files(folder)
            for kind in _SUMMED:
                _merge_kind(folder, kind, [file for file in files if file.name.startswith(f"{kind}_")])
            for file in files:
                file.unlink()
    except BlockingIOError:
        return 0
    except OSError as error:
        # The folder is out of space. The next merge retries.
        _log.warning("Counters of ended processes cannot be merged: %s", error.strerror)
        return 0
    return len(files)


@contextmanager
def no_merge(folder: Path) -> Iterator[None]:
    """Prevent merges in the block, so that no value is read twice. Raises `BlockingIOError` during a merge."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        yield


def _ended_files(folder: Path) -> list[Path]:
    """Return the files of ended processes. A process that waits to be reaped has not ended."""
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
    """Return the values of a file; empty if its process was killed before it wrote any."""
    try:
        return [(key, value) for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))]  # type: ignore[no-untyped-call]
    except (FileNotFoundError, struct.error):
        return []
    except (RuntimeError, UnicodeDecodeError) as error:
        _log.warning("Counters of an ended process cannot be read, they are dropped: %s", error)
        return []
