"""Let several processes share counters, in a folder that is set before any counter exists."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

#: The variable of prometheus-client, which a metric reads once, when it is created.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Prefix of a folder's name, followed by the process id of its owner.
_PREFIX = "ava-counters-"


@contextmanager
def shared_counters() -> Iterator[None]:
    """Let this process and its forks count into one folder. Only this process deletes it at the end."""
    if os.environ.get(_VARIABLE):
        yield
        return
    owner = os.getpid()
    _delete_abandoned()
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{owner}-")
    os.environ[_VARIABLE] = folder
    # prometheus-client reads the variable when it is imported.
    from ava.metrics import allocated_files

    allocated_files.use()
    try:
        yield
    finally:
        if os.getpid() == owner:
            os.environ.pop(_VARIABLE, None)
            shutil.rmtree(folder, ignore_errors=True)


def _delete_abandoned() -> None:
    """Delete the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        # Two processes that start simultaneously may delete the same folder, and another account's folder cannot be
        # deleted. Both are harmless.
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
