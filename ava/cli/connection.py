"""The connection of the operator's commands to the API: settings, overriding options, and the secret of `ava up`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.errors import CallFailed, SettingsError

if TYPE_CHECKING:
    from ava.client import Client

__all__ = ["connected"]

#: Where `ava up` keeps the secret that it generates, in the folder that it is started in.
_SECRET_FILE = Path(".ava") / "internal-secret"

_OPTIONS = (
    click.option("--url", help="The URL of the API.  [AVA_URL, else http://127.0.0.1:8080]"),
    click.option("--tenant", help="The tenant.  [AVA_TENANT_ID, else ten_01hxyz]"),
    click.option("--user", help="The user.  [AVA_USER_ID, else usr_01hxyz]"),
    click.option("--role", help="The role.  [AVA_ROLE, else tenant-system-admin]"),
)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a `client` to a command as its first argument, and add the options that say who calls.

    Raises `CallFailed` if a call of the command fails.
    """

    @wraps(command)
    def run(url: str | None, tenant: str | None, user: str | None, role: str | None, **rest: Any) -> Any:
        from ava.client import ClientError

        try:
            with _connect(url, tenant, user, role) as client:
                return command(client, **rest)
        except ClientError as error:
            raise CallFailed(str(error)) from error

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _connect(url: str | None, tenant: str | None, user: str | None, role: str | None) -> Client:
    from ava import settings
    from ava.client import Client

    defaults = settings.load_client()
    return Client(
        url or defaults.url,
        secret=defaults.secret or _generated_secret(),
        tenant=tenant or defaults.tenant,
        user=user or defaults.user,
        role=role or defaults.role,
        proxy=defaults.proxy or None,
    )


def _generated_secret() -> str:
    try:
        return _SECRET_FILE.read_text().strip()
    except OSError:
        raise SettingsError(
            "AVA_INTERNAL_SECRET",
            "it is not set; set it to the API's, or run the command in the folder of `ava up`",
        ) from None
