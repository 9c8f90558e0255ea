"""How the operator's commands reach the API: settings, options on top of them, and the secret that `ava up` made up."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ava.client import Client

__all__ = ["connected"]

#: Where `ava up` keeps the secret that it made up, below the folder that it is started in.
_SECRET_FILE = Path(".ava") / "internal-secret"

_OPTIONS = (
    click.option("--url", help="Where the API is.  [AVA_URL, else http://127.0.0.1:8080]"),
    click.option("--tenant", help="For which tenant.  [AVA_TENANT_ID, else ten_01hxyz]"),
    click.option("--user", help="As which user.  [AVA_USER_ID, else usr_01hxyz]"),
    click.option("--role", help="In which role.  [AVA_ROLE, else tenant-system-admin]"),
)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `client` as its first argument, and the options that say whose."""

    @wraps(command)
    def run(url: str | None, tenant: str | None, user: str | None, role: str | None, **rest: Any) -> Any:
        with _connect(url, tenant, user, role) as client:
            return command(client, **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _connect(url: str | None, tenant: str | None, user: str | None, role: str | None) -> Client:
    from ava import settings
    from ava.client import Client

    told = settings.load_client()
    return Client(
        url or told.url,
        secret=told.secret or _made_up_secret(),
        tenant=tenant or told.tenant,
        user=user or told.user,
        role=role or told.role,
    )


def _made_up_secret() -> str:
    from ava.errors import SettingsError

    try:
        return _SECRET_FILE.read_text().strip()
    except OSError:
        raise SettingsError(
            "AVA_INTERNAL_SECRET", "it is not set; set it to the API's, or come to the folder where `ava up` runs"
        ) from None
