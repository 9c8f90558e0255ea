"""The semaphores and the shared memory of billiard's pool, which contains a counter per process."""

from __future__ import annotations

import multiprocessing
import tempfile

from billiard.heap import BufferWrapper
from billiard.synchronize import Lock

from ava.errors import StartError


def require_semaphores() -> None:
    """Raise `StartError` with the remedy if no semaphore can be created."""
    try:
        Lock()
    except (OSError, ImportError) as error:
        raise StartError(
            f"no POSIX semaphore can be made ({error}), so a node cannot start processes: mount a writable tmpfs at "
            "/dev/shm (in Kubernetes an emptyDir with `medium: Memory`)."  # noqa: S108 - no file is made here
        ) from error


def reserve() -> None:
    """Allocate the first block of shared memory: a page, enough for 500 processes.

    billiard would create a folder for the block's file. It removes the file immediately but the folder only when the
    process ends, so a killed node would leave it behind. Handlers that use `multiprocessing` still create such a
    folder.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is None:
        config["tempdir"] = tempfile.gettempdir()
        try:
            BufferWrapper(1)
        finally:
            del config["tempdir"]
