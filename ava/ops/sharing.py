"""Counters that several processes share: a folder of their own, set before anything counts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["shared_counters"]

#: The variable of prometheus-client; its metrics look at it once, when they are made.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_counters() -> Iterator[None]:
    """Have this process and those that it forks count into one folder, deleted at the end by this one alone."""
    if os.environ.get(_VARIABLE):
        yield
        return
    folder = tempfile.mkdtemp(prefix="ava-counters-")
    owner = os.getpid()
    os.environ[_VARIABLE] = folder
    try:
        yield
    finally:
        if os.getpid() == owner:
            os.environ.pop(_VARIABLE, None)
            shutil.rmtree(folder, ignore_errors=True)
