"""What runs and nodes use of their machine, memory and processor time, and the memory limits of workers.

Read from Linux's `/proc`; a node seldom has the rights for control groups.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ava.domain.worker import WorkerSpec
from ava.errors import HandlerError, SettingsError
from ava.node import process_tree
from ava.node.outcome import MIB

#: Microseconds of a clock tick, the unit of the times in `/proc/<pid>/stat`.
_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Positions of utime, stime, cutime and cstime after the program's name (proc_pid_stat(5)).
_TIMES = slice(11, 15)
#: Private and shared memory, in KiB, without pages of files.
_MEMORY = ("RssAnon:", "RssShmem:")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUse:
    memory_bytes: int
    #: Since the start of each process, including reaped ones.
    cpu_us: int


def measure(pid: int) -> RunUse:
    """Return the usage of a process and its descendants; zeros if it has ended."""
    pids = (pid, *process_tree.descendants(pid))
    return RunUse(memory_bytes=sum(map(memory_bytes, pids)), cpu_us=sum(map(_cpu_us, pids)))


def memory_bytes(pid: int) -> int:
    """Return the private and shared memory in bytes of one process; 0 if it has ended."""
    lines = _read(pid, "status").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_MEMORY))


def own_private_bytes() -> int:
    """Return the private memory of this process in bytes, twice as fast as `memory_bytes`."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


def own_cpu_us() -> int:
    """Return the processor time of this process and its reaped children."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() // 1000 + round((ended.ru_utime + ended.ru_stime) * 1_000_000)


def _cpu_us(pid: int) -> int:
    # The name, in parentheses, may contain any character.
    fields = _read(pid, "stat").rpartition(") ")[2].split()
    return sum(map(int, fields[_TIMES])) * _TICK_US


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        # The process has just ended.
        return ""


def used_bytes() -> int | None:
    """Return the memory of this process and its descendants in bytes; None if the kernel does not report it.

    Each counts with its proportional share (PSS), so that shared pages count once.
    """
    shares = [_share(pid) for pid in (os.getpid(), *process_tree.descendants(os.getpid()))]
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


def _share(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        # The process has just ended, or belongs to another user.
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def own_mb() -> int:
    return math.ceil(memory_bytes(os.getpid()) / MIB)


def check_memory_limits(specs: Iterable[WorkerSpec], default_mb: int) -> None:
    """Compare the limits with the memory of this process after loading the handlers: each run starts with as much.

    Raises `HandlerError` for a worker, and `SettingsError` for the node's default, if its limit is not above that.
    """
    empty_mb = own_mb()
    reason = f"an empty run takes {empty_mb} MiB in this node"
    for spec in specs:
        if spec.max_memory_mb is not None and spec.max_memory_mb <= empty_mb:
            slug = spec.id.removeprefix("wkr_")
            raise HandlerError(f"Worker {slug!r}: max_memory_mb is {spec.max_memory_mb}; {reason}.")
    if 0 < default_mb <= empty_mb:
        raise SettingsError("AVA_MAX_MEMORY_MB", f"it is {default_mb}; {reason}")
