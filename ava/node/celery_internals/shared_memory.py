"""The semaphores and the shared memory of billiard's pool, which holds a counter for each process."""

from __future__ import annotations

import multiprocessing
import tempfile

from billiard.heap import BufferWrapper
from billiard.synchronize import Lock

from ava.errors import StartError


def require_semaphores() -> None:
    """Raises `StartError`, which says what to do, if no semaphore can be made."""
    try:
        Lock()
    except (OSError, ImportError) as error:
        raise StartError(
            f"no POSIX semaphore can be made ({error}), so a node cannot start processes: mount a writable tmpfs at "
            "/dev/shm (in Kubernetes an emptyDir with `medium: Memory`)."  # noqa: S108 - no file is made here
        ) from error


def reserve() -> None:
    """Make the first block of it: a page, enough for 500 processes.

    billiard would make a folder for the block's file. It removes the file at once, but the folder when the process
    ends, so a node that is killed would leave it. What a handler makes with `multiprocessing` still has such a folder.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is None:
        config["tempdir"] = tempfile.gettempdir()
        try:
            BufferWrapper(1)
        finally:
            del config["tempdir"]
