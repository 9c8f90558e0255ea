"""Counter files whose blocks are allocated on disk before they are mapped.

On a full file system, writing to a mapped page without a block ends the process by SIGBUS. So a full temporary folder
would end every process that counts.
"""

from __future__ import annotations

import logging
import mmap
import os

from prometheus_client import mmap_dict, values

_log = logging.getLogger(__name__)

#: Bytes of a new file, as in prometheus-client.
_BYTES = mmap_dict._INITIAL_MMAP_SIZE
#: Maximum bytes of an entry without its name.
_ENTRY_BYTES = 32


def use() -> None:
    """Allocate the files of all counters that are created from now on."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]


def allocate(path: str) -> None:
    """Create a file with its blocks. Raises `OSError` if the file system is full."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.posix_fallocate(descriptor, 0, _BYTES)
    finally:
        os.close(descriptor)


class AllocatedDict(mmap_dict.MmapedDict):
    """The values of one process. Without disk space they are in memory that other processes cannot read."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            try:
                allocate(filename)
            except OSError as error:
                filename = _in_memory(filename, error)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # it has no annotations

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + _ENTRY_BYTES > self._capacity:
            try:
                os.posix_fallocate(self._f.fileno(), self._capacity, self._capacity)
            except OSError as error:
                self._move_to_memory(error)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self, error: OSError) -> None:
        content = self._m[: self._used]
        self._f.close()
        self._f = open(_in_memory(self._fname, error), "a+b")  # noqa: SIM115 - the dict closes it
        self._f.truncate(self._capacity)
        self._m = mmap.mmap(self._f.fileno(), self._capacity)
        self._m[: self._used] = content


def _in_memory(filename: str, error: OSError) -> str:
    """Return the path of a new file in memory, which stays open until the process ends."""
    _log.warning("Counters of this process are shared with no other: %s: %s", filename, error.strerror)
    return f"/proc/self/fd/{os.memfd_create('ava-counters')}"
