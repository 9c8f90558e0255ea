"""Counters that several processes share: a folder of their own, set before anything counts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

__all__ = ["shared_counters"]

#: The variable of prometheus-client; its metrics look at it once, when they are made.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: How a folder begins; its owner's process id follows.
_PREFIX = "ava-counters-"


@contextmanager
def shared_counters() -> Iterator[None]:
    """Have this process and those that it forks count into one folder, deleted at the end by this one alone."""
    if os.environ.get(_VARIABLE):
        yield
        return
    owner = os.getpid()
    _forget_dead()
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{owner}-")
    os.environ[_VARIABLE] = folder
    try:
        yield
    finally:
        if os.getpid() == owner:
            os.environ.pop(_VARIABLE, None)
            shutil.rmtree(folder, ignore_errors=True)


def _forget_dead() -> None:
    """Delete the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        # Two that start at once may meet, and another account's cannot be deleted; either is no matter.
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
