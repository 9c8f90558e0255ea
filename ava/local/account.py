"""The account that servers run as: our own, or an unprivileged one where we are root, which PostgreSQL refuses."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ava.errors import StartError

__all__ = ["Account", "can_enter", "can_run", "for_servers"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account of this machine that already exists; we never add one."""

    #: Its name, as in `nobody`.
    name: str
    #: Its user number.
    uid: int
    #: The number of its own group.
    gid: int


def for_servers(data: Path) -> Account | None:
    """Who runs the servers whose data is at `data`, which need not exist yet; None is ourselves.

    Where we are root, data that is already there stays its owner's, and new data belongs to `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return _find(data.stat().st_uid)
    return _nobody()


def can_enter(account: Account | None, folder: Path) -> bool:
    """Whether `account` can reach what lies in `folder`, whose modes and those of its parents decide together."""
    return _passes(account, ("test", "-x", str(folder)))


def can_run(account: Account | None, program: Path) -> bool:
    """Whether `account` can reach, read and run `program`."""
    return _passes(account, ("test", "-r", str(program), "-a", "-x", str(program)))


def _passes(account: Account | None, test: tuple[str, ...]) -> bool:
    """Ask the kernel as that account, for modes alone do not tell: there are ACLs and mounts."""
    if account is None:
        return subprocess.run(test, check=False).returncode == 0
    try:
        return subprocess.run(test, user=account.uid, group=account.gid, extra_groups=[], check=False).returncode == 0
    except OSError as problem:
        raise StartError(
            f"PostgreSQL must not run as root, and becoming {account.name} failed ({problem.strerror}); "
            "start as an ordinary user, or set DATABASE_URL and BROKER_URL."
        ) from problem


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StartError(
            "PostgreSQL must not run as root, and this machine has no account `nobody`; "
            "start as an ordinary user, or set DATABASE_URL and BROKER_URL."
        ) from None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _find(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(name=f"user {uid}", uid=uid, gid=uid)
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
