"""The environment of the processes that `ava up` starts: its own, plus the settings that it provides."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from ava.local import handler_folder
from ava.local.account import Account
from ava.local.data_folder import DataFolder, write_private
from ava.setting_values import SECRETS

#: The settings file of `ava up`, in the folder where it is started.
_FILE = Path(".ava") / "environment"
#: The secrets that each command needs; it gets no others.
_NEEDED = {
    "db": ("DATABASE_URL", "DATABASE_OWNER_URL"),
    "worker": ("DATABASE_URL", "BROKER_URL", "AVA_ENCRYPTION_KEY", "AVA_MESSAGE_KEY"),
    "dispatcher": ("DATABASE_URL", "BROKER_URL", "AVA_ENCRYPTION_KEY", "AVA_SIGNING_KEY", "AVA_MESSAGE_KEY"),
    "webhooks": ("DATABASE_URL", "AVA_ENCRYPTION_KEY", "AVA_SMTP_URL"),
    "api": (
        *("DATABASE_URL", "BROKER_URL", "AVA_INTERNAL_SECRET", "AVA_ENCRYPTION_KEY", "AVA_MESSAGE_KEY"),
        *("AVA_SIGNING_KEY", "AVA_OIDC_CLIENT_SECRET"),
    ),
}
#: The addresses of embedded servers, and the secret of the data directory in each of them.
_EMBEDDED = {
    "DATABASE_URL": "database-password",
    "DATABASE_OWNER_URL": "postgres-password",
    "BROKER_URL": "broker-password",
}


def own(name: str) -> str:
    """Return the value of `name` in this environment, or the file that contains it; empty if neither is set."""
    return os.environ.get(name, "").strip() or os.environ.get(f"{name}_FILE", "").strip()


def forget_embedded(folder: DataFolder) -> None:
    """Remove the addresses that a shell took from the settings file of an earlier `ava up`, whose servers are gone."""
    for name, secret in _EMBEDDED.items():
        if f":{folder.secret(secret)}@127.0.0.1:" in own(name):
            del os.environ[name]


def for_children(additions: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with `additions`, for child processes, which must not outlive this process."""
    inherited = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    return {**inherited, **additions, "AVA_PARENT_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1"}


def of_handlers() -> dict[str, str]:
    """Return the settings that a second node must share: handlers and their configuration.

    A node with other handlers would defer this system's jobs.
    """
    shared = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AVA_WORKER_", "AVA_HANDLERS", "AVA_CELERY_"))
    }
    return shared | {handler_folder.VARIABLE: handler_folder.folders()[0]}


def use_running_system() -> str | None:
    """Take settings that are missing in this environment from the `ava up` that was started in this folder.

    Return the path of the settings file. Return None if there is none, or if a database or broker is set, because the
    settings of two systems must not be mixed.
    """
    if own("DATABASE_URL") or own("BROKER_URL"):
        return None
    found = of_running_system()
    for name, value in found.items():
        os.environ.setdefault(name, value)
    return str(_FILE) if found else None


def of_running_system() -> dict[str, str]:
    """Return the settings of the `ava up` that was started in this folder; empty without one."""
    try:
        words = shlex.split(_FILE.read_text())
    except OSError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def for_process(name: str, environ: Mapping[str, str], account: Account | None = None) -> dict[str, str]:
    """Return an environment with only the secrets that the command `name` needs, for a process of `account`."""
    unneeded = {secret for secret in SECRETS if secret not in _NEEDED[name]}
    needed = {key: value for key, value in environ.items() if key.removesuffix("_FILE") not in unneeded}
    return (
        needed if account is None else needed | {"HOME": "/nonexistent", "USER": account.name, "LOGNAME": account.name}
    )


def write_file(folder: DataFolder, additions: Mapping[str, str]) -> Path:
    """Write `additions` to a file for a shell (`set -a; . .ava/environment`). Return its path."""
    path = folder.path / "environment"
    write_private(path, "".join(f"{name}={_quoted(value)}\n" for name, value in additions.items()))
    return path


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
