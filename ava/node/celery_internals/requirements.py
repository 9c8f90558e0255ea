"""What a node requires: tested versions of Celery, kombu and billiard, whose internals it uses, and shared memory."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
from importlib import metadata

from billiard.heap import BufferWrapper
from billiard.synchronize import Lock

from ava.errors import StartError

#: The tested versions of each package, as in setup.cfg: minimum, and exclusive maximum.
TESTED = {"celery": ("5.7", "5.8"), "kombu": ("5.7", "5.8"), "billiard": ("4.3.2", "4.4")}


def require_tested(pool: str) -> None:
    """Raise `StartError` if the pool `ava` would run on untested versions; Celery's own pool runs on any."""
    if pool == "ava" and (problem := describe_untested()):
        raise StartError(f"{problem}, or set AVA_POOL=celery.")


def describe_untested() -> str | None:
    """Return one line about untested installed versions and the remedy; None if all were tested."""
    untested = [
        f"{name} {metadata.version(name)} was not tested with this release, which needs {_range(name)}"
        for name, (first, beyond) in TESTED.items()
        if not _parse(first) <= _parse(metadata.version(name)) < _parse(beyond)
    ]
    install = " ".join(f"'{name}{_range(name)}'" for name in TESTED)
    return f"{'; '.join(untested)}; install it with: pip install {install}" if untested else None


def _range(name: str) -> str:
    first, beyond = TESTED[name]
    return f">={first},<{beyond}"


def _parse(version: str) -> tuple[int, ...]:
    # Ignore suffixes: a pre-release counts as its release.
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def require_semaphores() -> None:
    """Raise `StartError` with the remedy if the machine allows no semaphore, which billiard's pool needs."""
    try:
        Lock()
    except (OSError, ImportError) as error:
        raise StartError(
            f"no POSIX semaphore can be made ({error}), so a node cannot start processes: mount a writable tmpfs at "
            "/dev/shm (in Kubernetes an emptyDir with `medium: Memory`)."  # noqa: S108 - no file is made here
        ) from error


def reserve_shared_memory() -> None:
    """Allocate the first block of shared memory: a page, enough for a counter of each of 500 processes.

    billiard would create a folder for the block's file and remove it only when the process ends, so a killed node would
    leave it behind. Handlers that use `multiprocessing` still create such a folder.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is None:
        config["tempdir"] = tempfile.gettempdir()
        try:
            BufferWrapper(1)
        finally:
            del config["tempdir"]
