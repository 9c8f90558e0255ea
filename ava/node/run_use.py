"""Measure the memory and processor time of a run: its process and all processes that its handler has started.

Linux shows both in `/proc`. Control groups would need rights that a node seldom has.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from ava.node import processes

#: Microseconds of a clock tick, the unit of the times in `/proc/<pid>/stat`.
_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Positions of utime, stime, cutime and cstime in `/proc/<pid>/stat`, after the program's name (proc_pid_stat(5)).
_TIMES = slice(11, 15)
#: The lines of `/proc/<pid>/status` with private and shared memory, in KiB. They exclude pages of files.
_MEMORY = ("RssAnon:", "RssShmem:")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUse:
    """Resource usage of a process and its descendants."""

    memory_bytes: int
    #: Since the start of each process, including ended and reaped ones.
    cpu_us: int


def measure(pid: int) -> RunUse:
    """Return the usage of a process and its descendants; zeros if it has ended."""
    pids = (pid, *processes.descendants(pid))
    return RunUse(memory_bytes=sum(map(memory_bytes, pids)), cpu_us=sum(map(_cpu_us, pids)))


def memory_bytes(pid: int) -> int:
    """Return the private and shared memory in bytes of one process, without descendants; 0 if it has ended."""
    lines = _read(pid, "status").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_MEMORY))


def own_private_bytes() -> int:
    """Return the private memory of this process in bytes, twice as fast as `memory_bytes`."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


def own_cpu_us() -> int:
    """Return the processor time in microseconds of this process and its reaped children."""
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
