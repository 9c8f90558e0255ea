"""Handlers that hold the GIL in C code, where neither a signal nor another thread of their process reaches them.

Their groups have six seconds, as in `grouped_handlers`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from ava import Env, worker
from tests.acceptance import grouped_handlers
from tests.acceptance.witness import record

__all__ = ["grouped_handlers"]

#: The functions of libc, called without releasing the GIL.
_libc = ctypes.PyDLL(None)


class _Late:
    """Holds the GIL when it is freed: with the frames of its handler, after the end of the run."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def __del__(self) -> None:
        _libc.sleep(self._seconds)


def _run(input: dict[str, Any], env: Env) -> dict[str, Any]:
    record(input, str(input["number"]))
    late = _Late(input.get("holds_late", 0))
    env.log.info("begun")
    if "holding" in input:
        Path(input["holding"]).touch()
    _libc.sleep(input.get("holds", 0))
    if late._seconds:
        raise ValueError("on purpose")
    return {"number": input["number"]}


@worker("t_gil", queue="gil", timeout_seconds=2, cancel_grace_seconds=0.5)
def short(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Record the job's number, and hold the GIL for as long as the input says."""
    return _run(input, env)


@worker("t_gil_long", queue="gil", timeout_seconds=60, cancel_grace_seconds=0)
def long(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Do the same, with a long time-out and no grace."""
    return _run(input, env)
