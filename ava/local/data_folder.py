"""The data directory of `ava up`. One running `ava up` owns it, and its content persists between runs."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from ava.errors import DataDirectoryError
from ava.local.account import Account, can_enter, for_servers
from ava.local.programs import SHARED_FOLDER


@dataclass(frozen=True, kw_only=True)
class DataFolder:
    """An open data directory. Its lock ends with this process, however that ends."""

    path: Path
    #: The file that is locked while the directory is in use.
    lock: IO[str]

    def secret(self, name: str, *, size_bytes: int = 24) -> str:
        """Return a generated secret, persisted in a file that only this account can read."""
        path = self.path / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(size_bytes) + "\n")
        return path.read_text().strip()

    def server_account(self) -> Account | None:
        """Return the account for servers without data."""
        return for_servers(self.path / "none")

    def delete(self) -> None:
        """Delete the directory, including its servers' data elsewhere."""
        for child in self.path.iterdir():
            if child.is_symlink():
                shutil.rmtree(child.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        self.lock.close()


def open_folder(path: Path) -> DataFolder:
    """Open the data directory at `path`, creating it if necessary. Raise `DataDirectoryError`."""
    path = path.absolute()
    try:
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            (path / ".gitignore").write_text("*\n")
        lock = os.fdopen(os.open(path / "lock", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+")
    except OSError as problem:
        raise DataDirectoryError(
            f"{path} cannot hold the data ({problem.strerror}); give another --data-dir."
        ) from problem
    _lock(lock, path)
    return DataFolder(path=path, lock=lock)


def server_folder(folder: DataFolder, name: str) -> tuple[Path, Account | None]:
    """Return the data folder of the server `name`, created if necessary, and the account that runs it.

    If that account cannot reach the data directory, for example below a private home directory, the server's folder
    is in `SHARED_FOLDER`, with a symbolic link to it. The permissions of other folders are never changed.
    """
    server_path = folder.path / name
    account = for_servers(server_path)
    if not server_path.exists():
        _create(server_path, account, reachable=can_enter(account, folder.path))
    server_path = server_path.resolve()
    if server_path.stat().st_uid != (account.uid if account else os.geteuid()):
        raise DataDirectoryError(
            f"{server_path} belongs to another account; start as that one, or give another --data-dir."
        )
    return server_path, account


def open_private(path: Path) -> BinaryIO:
    """Open an empty file that only this account can read, even if an earlier release left a readable one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def write_private(path: Path, content: str) -> None:
    """Write a file that only this account can read, atomically."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
    unfinished.replace(path)


def _lock(lock: IO[str], path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise DataDirectoryError(
            f"{path} is in use by another `ava up` (process {owner}); stop that one, or give another --data-dir."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def _create(server_path: Path, account: Account | None, *, reachable: bool) -> None:
    if reachable:
        _create_for(server_path, account)
        return
    elsewhere = SHARED_FOLDER / "data" / f"{server_path.name}-{secrets.token_hex(8)}"
    try:
        for shared in (SHARED_FOLDER, elsewhere.parent):
            shared.mkdir(mode=0o755, exist_ok=True)
        _create_for(elsewhere, account)
    except OSError as problem:
        raise DataDirectoryError(
            f"{account.name if account else 'This account'} cannot access {server_path}, and {elsewhere} cannot be "
            f"created ({problem.strerror}); give another --data-dir."
        ) from problem
    server_path.unlink(missing_ok=True)
    server_path.symlink_to(elsewhere)


def _create_for(server_path: Path, account: Account | None) -> None:
    server_path.mkdir(mode=0o700)
    if account:
        os.chown(server_path, account.uid, account.gid)
