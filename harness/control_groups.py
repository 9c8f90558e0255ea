"""Control groups of the kernel with a limit of memory, for tests that need the kernel to kill for it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class GroupRefused(Exception):
    """No control group can be made here."""


@contextmanager
def memory_group(mb: int) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A control group whose processes may have so many MiB together: what is started in the given context is in it.

    They have to end before it does. Raises `GroupRefused`.
    """
    is_old = (_ROOT / "memory").is_dir()
    folder = (_ROOT / "memory" / _own("memory") if is_old else _ROOT / _own("")) / f"ava-{uuid.uuid4().hex[:12]}"
    limit = folder / ("memory.limit_in_bytes" if is_old else "memory.max")
    try:
        folder.mkdir()
        limit.write_text(str(mb * 1024 * 1024))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        raise GroupRefused(f"no control group can be made here: {error}") from None

    @contextmanager
    def inside() -> Iterator[None]:
        own = str(os.getpid())
        (folder / "cgroup.procs").write_text(own)
        try:
            yield
        finally:
            (folder.parent / "cgroup.procs").write_text(own)

    try:
        yield inside
    finally:
        folder.rmdir()


def _own(controller: str) -> str:
    """Returns the group of this process, of a controller, or of the second version of control groups."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    found = [line.split(":", 2) for line in lines]
    return next((path.lstrip("/") for _, names, path in found if controller in names.split(",")), "")
