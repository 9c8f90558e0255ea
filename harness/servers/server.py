"""A server of the tests: it can be stopped, killed and started again at the same address."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2

from ava.local import start
from ava.local.program import ChildProcess
from ava.local.servers import Postgres, Redis

_MEMORY_DISK = "/dev/shm"
#: What all servers that run at the same time may need of it. In a container it often has 64 MiB.
_MEMORY_BYTES = 8 * 2**30
_PREFIX = "ava-tests-"
_NEW_SECONDS = 60.0


class Server:
    """One running PostgreSQL or Redis."""

    def __init__(self, server: Postgres | Redis, folder: Path) -> None:
        self.server = server
        self.log = folder / ("postgres.log" if isinstance(server, Postgres) else "redis.log")
        self.child: ChildProcess | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its URL; the same after every restart."""
        return self.server.url

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child = start.start(self.server, self.log)
        start.wait_until_ready(self.server, self.child, self.log)

    def stop(self) -> None:
        """Stop it cleanly. Does nothing if it does not run."""
        if self.child:
            self.child.stop()
            self.child = None

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self.child:
            self.child.kill()
            self.child = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it and its processes for the length of a `with`: connections stay open and nothing responds."""
        assert self.child
        server = psutil.Process(self.child.pid)
        # The server first: then it starts no further process.
        server.suspend()
        children = server.children(recursive=True)
        _each(children, psutil.Process.suspend)
        try:
            yield
        finally:
            _each([*children, server], psutil.Process.resume)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Make PostgreSQL refuse writes for the length of a `with`, as a demoted primary does, in open sessions too."""
        self._configure("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._configure("ALTER SYSTEM RESET default_transaction_read_only")

    def _configure(self, statement: str) -> None:
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                cursor.execute("SELECT pg_reload_conf()")


def _each(processes: list[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            act(process)


@contextmanager
def private_folder(*, in_memory: bool = False) -> Iterator[Path]:
    """A temporary folder that an unprivileged account can enter; pytest's own is closed to it.

    `in_memory`: on a disk of memory, if the machine has one that is large enough. Folders there that a killed run
    left are removed first, because they hold memory until then.
    """
    parent = _memory_disk() if in_memory else None
    if parent:
        _remove_left_folders(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    folder.chmod(0o711)
    in_use = os.open(folder, os.O_RDONLY)
    fcntl.flock(in_use, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(in_use)


def _remove_left_folders(parent: str) -> None:
    """Remove the private folders of runs that have ended. A run holds a lock of each folder that it uses."""
    for folder in Path(parent).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            opened = os.open(folder, os.O_RDONLY)
            try:
                # A new folder is not locked at once.
                if time.time() - os.fstat(opened).st_ctime > _NEW_SECONDS:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(opened)


def _memory_disk() -> str | None:
    try:
        return _MEMORY_DISK if shutil.disk_usage(_MEMORY_DISK).free >= _MEMORY_BYTES else None
    except OSError:
        return None


def account_folder(folder: Path, name: str, uid: int | None) -> Path:
    """Make a folder inside `folder` that belongs to the account `uid`. Returns its path."""
    path = folder / name
    path.mkdir(mode=0o700)
    if uid is not None:
        os.chown(path, uid, -1)
    return path
