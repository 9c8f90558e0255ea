"""The account of servers: this process's, or an unprivileged one if it is root, because PostgreSQL refuses root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ava.errors import StartError

#: Imports the dependencies of a process, and finds the handler modules.
_PROBE = """
import importlib.util, sys
import ava.cli.main, psycopg2
from ava.local import handler_folder
handler_folder.search(handler_folder.folders(), sys.argv[1:])
sys.exit(any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))
"""


@dataclass(frozen=True, kw_only=True)
class Account:
    """An existing account of this machine. No account is ever created."""

    name: str
    uid: int
    gid: int


def for_servers(data: Path) -> Account | None:
    """Return the account for servers with data at `data`, which need not exist yet; None: this process's account.

    If this process is root, existing data keeps its owner, and new data belongs to `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return _find(data.stat().st_uid)
    return _nobody()


def for_processes() -> Account | None:
    """Return the account for the processes that run handlers and serve requests; None: this process's account.

    For root it is `daemon`, because handlers must not read PostgreSQL's files, which another account owns.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("daemon")
    except KeyError:
        return None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def can_import(account: Account, modules: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return True if `account` can run this Python, this package and the handler modules from this folder."""
    command = (sys.executable, "-P", "-c", _PROBE, *modules)
    try:
        done = subprocess.run(
            command, env=environ, user=account.uid, group=account.gid, extra_groups=[], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def can_enter(account: Account | None, folder: Path) -> bool:
    """Return True if `account` may traverse `folder` and all its parents."""
    return _passes(account, ("test", "-x", str(folder)))


def can_run(account: Account | None, program: Path) -> bool:
    """Return True if `account` can reach, read and run `program`."""
    return _passes(account, ("test", "-r", str(program), "-a", "-x", str(program)))


def _passes(account: Account | None, test: tuple[str, ...]) -> bool:
    """Run `test` as the account: modes are not sufficient because of ACLs and mount options."""
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
            "PostgreSQL must not run as root, but this machine has no account `nobody`; start as an ordinary user, "
            "or set DATABASE_URL and BROKER_URL."
        ) from None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _find(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(name=f"user {uid}", uid=uid, gid=uid)
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
