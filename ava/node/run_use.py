"""What a run uses: the memory and the processor time of its process and of everything that its handler has started.

Linux shows both in `/proc`; control groups, which need rights that a node seldom has, are not used.
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
#: Where utime, stime, cutime and cstime are in `/proc/<pid>/stat`, behind the name of the program (proc_pid_stat(5)).
_TIMES = slice(11, 15)
#: The lines of `/proc/<pid>/status` with private and with shared memory, in KiB. Pages of files are not among them.
_MEMORY = ("RssAnon:", "RssShmem:")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUse:
    """What a process and its descendants use."""

    memory_bytes: int
    #: Since each of them was started; those that have ended and were reaped are included.
    cpu_us: int


def measure(pid: int) -> RunUse:
    """Returns what a process and its descendants use; nothing of a process that has ended."""
    pids = (pid, *processes.descendants(pid))
    return RunUse(memory_bytes=sum(map(memory_bytes, pids)), cpu_us=sum(map(_cpu_us, pids)))


def memory_bytes(pid: int) -> int:
    """Returns the private and shared memory of a process alone; 0 if it has ended."""
    lines = _read(pid, "status").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_MEMORY))


def own_private_bytes() -> int:
    """Returns the private memory of this process, in half of the time of `memory_bytes`."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


def own_cpu_us() -> int:
    """Returns the processor time, in microseconds, of this process and of those that it has started and reaped."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() // 1000 + round((ended.ru_utime + ended.ru_stime) * 1_000_000)


def _cpu_us(pid: int) -> int:
    # The name, in parentheses, may contain anything.
    fields = _read(pid, "stat").rpartition(") ")[2].split()
    return sum(map(int, fields[_TIMES])) * _TICK_US


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        # The process has ended meanwhile.
        return ""
