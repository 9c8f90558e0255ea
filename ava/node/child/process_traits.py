"""Limits and modes of a process that a handler may change, each readable within about a microsecond.

Like `ProcessState` it keeps the promise that nothing of one run reaches the next. A process is replaced only for a
trait that cannot be restored, because a fork costs more than a small job.
"""

from __future__ import annotations

import decimal
import gc
import locale
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

#: Limits that programs set; reading one costs a microsecond after every job.
_LIMITS = (
    *(resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE),
    resource.RLIMIT_NPROC,
)


class _Trait(NamedTuple):
    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _read_collector() -> tuple[bool, tuple[int, int, int], int]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug()


def _write_collector(state: tuple[bool, tuple[int, int, int], int]) -> None:
    is_enabled, thresholds, debug = state
    (gc.enable if is_enabled else gc.disable)()
    gc.set_threshold(*thresholds)
    gc.set_debug(debug)


def _read_limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _LIMITS))


def _write_limits(limits: list[tuple[int, int]]) -> None:
    for each, limit in zip(_LIMITS, limits, strict=True):
        resource.setrlimit(each, limit)


def _read_interpreter() -> tuple[Any, ...]:
    numbers = sys.getswitchinterval(), sys.get_int_max_str_digits(), sys.get_coroutine_origin_tracking_depth()
    return sys.gettrace(), sys.getprofile(), sys.get_asyncgen_hooks(), *numbers


def _write_interpreter(state: tuple[Any, ...]) -> None:
    trace, profile, generator_hooks, switch_seconds, max_digits, depth = state
    sys.settrace(trace)
    sys.setprofile(profile)
    sys.setswitchinterval(switch_seconds)
    sys.set_int_max_str_digits(max_digits)
    sys.set_coroutine_origin_tracking_depth(depth)
    sys.set_asyncgen_hooks(*generator_hooks)


def _read_thread_hooks() -> tuple[Any, Any]:
    return threading.gettrace(), threading.getprofile()


def _write_thread_hooks(state: tuple[Any, Any]) -> None:
    trace, profile = state
    threading.settrace(trace)
    threading.setprofile(profile)


def _write_decimal(state: Any) -> None:
    own, default = decimal.Context(*state[1]), decimal.DefaultContext
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(default, name, getattr(own, name))
    default.flags, default.traps = own.flags, own.traps


def _read_account() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return os.getresuid(), os.getresgid()


def _write_account(state: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
    users, groups = state
    os.setresuid(*users)
    os.setresgid(*groups)


_TRAITS = (
    # First, because the others may need the account's rights.
    _Trait("account", _read_account, _write_account),
    _Trait("socket time-out", socket.getdefaulttimeout, socket.setdefaulttimeout),
    _Trait("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Trait("interpreter's settings", _read_interpreter, _write_interpreter),
    _Trait("hooks of new threads", _read_thread_hooks, _write_thread_hooks),
    _Trait("stack size of new threads", threading.stack_size, threading.stack_size),
    _Trait("decimal context", decimal.DefaultContext.__reduce__, _write_decimal),
    _Trait("garbage collection", _read_collector, _write_collector),
    _Trait("resource limits", _read_limits, _write_limits),
    _Trait("CPU affinity", lambda: os.sched_getaffinity(0), lambda processors: os.sched_setaffinity(0, processors)),
    _Trait(
        "niceness",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda niceness: os.setpriority(os.PRIO_PROCESS, 0, niceness),
    ),
    _Trait("locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    # Depends on the environment, which was restored before.
    _Trait("time zone", lambda: (time.tzname, time.timezone, time.altzone), lambda _: time.tzset()),
)


_READERS = [trait.read for trait in _TRAITS]


class ProcessTraits:
    def __init__(self) -> None:
        self._values = [read() for read in _READERS]

    def restore(self) -> None:
        """Restore each changed trait. Raises `OSError` with the names of those that cannot be restored."""
        if [read() for read in _READERS] == self._values:
            return
        lost = [trait.name for trait, value in zip(_TRAITS, self._values, strict=True) if not _restore(trait, value)]
        if lost:
            raise OSError(f"the handler changed the {', '.join(lost)} for good")


def _restore(trait: _Trait, value: Any) -> bool:
    if trait.read() == value:
        return True
    try:
        trait.write(value)
    except (OSError, ValueError, RecursionError, locale.Error):
        return False
    return bool(trait.read() == value)
