"""The semaphores of this machine, which the pool of a node needs."""

from __future__ import annotations

from billiard.synchronize import Lock

from ava.errors import StartError


def require() -> None:
    """Raises `StartError`, which says what to do, if no semaphore can be made."""
    try:
        Lock()
    except (OSError, ImportError) as error:
        raise StartError(
            f"no POSIX semaphore can be made ({error}), so a node cannot start processes: mount a writable tmpfs at "
            "/dev/shm (in Kubernetes an emptyDir with `medium: Memory`)."  # noqa: S108 - no file is made here
        ) from error
