"""The connection of the operator's commands to the API: settings, a profile, options, and the secret of `ava up`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.errors import CallFailed, SettingsError

if TYPE_CHECKING:
    from ava.client import ApiError, Client
    from ava.settings import ClientSettings

_MAX_FIELDS = 6
#: Where `ava up` keeps the secret that it generates, in the folder that it is started in.
_SECRET_FILE = Path(".ava") / "internal-secret"


def _complete_profile(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from contextlib import suppress

    from ava import settings
    from ava.cli.options import profiles

    with suppress(SettingsError):
        return [name for name in profiles.names(settings.load_client()) if name.startswith(incomplete)]
    return []


profile_option: Callable[..., Any] = click.option(
    "--profile",
    help="The profile of the configuration file to use.  [AVA_PROFILE]",
    shell_complete=_complete_profile,
)

_OPTIONS = (
    profile_option,
    click.option(
        "--url", help="The URL of the API.  [AVA_URL, or the `ava up` of this folder, or http://127.0.0.1:8080]"
    ),
    click.option("--tenant", help="The tenant.  [AVA_TENANT_ID, or ten_01hxyz]"),
    click.option("--user", help="The user.  [AVA_USER_ID, or usr_01hxyz]"),
    click.option("--role", help="The role.  [AVA_ROLE, or tenant-system-admin]"),
)
_NAMES = ("profile", "url", "tenant", "user", "role")


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a `client` to a command as its first argument, and add the options that identify the caller.

    Raises `CallFailed` if a call of the command fails.
    """

    @wraps(command)
    def run(**arguments: Any) -> Any:
        from ava.client import ApiNotFound, ApiRefused, ClientError

        rest = {name: value for name, value in arguments.items() if name not in _NAMES}
        try:
            with connect(click.get_current_context()) as client:
                try:
                    return command(client, **rest)
                except (ApiNotFound, ApiRefused) as error:
                    raise CallFailed(f"{_message(error)}{_similar_worker(client, error, rest)}") from error
        except ClientError as error:
            raise CallFailed(str(error)) from error

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _message(error: ApiError) -> str:
    """Return a failure's message; with several invalid fields the message of each, up to `_MAX_FIELDS`."""
    faults = [(path, messages) for path, messages in error.fields.items() if isinstance(messages, list)]
    if len(faults) < 2:
        return str(error)
    named = " ".join(f"{path}: {' '.join(map(str, messages))}" for path, messages in faults[:_MAX_FIELDS])
    return named if len(faults) <= _MAX_FIELDS else f"{named} {len(faults) - _MAX_FIELDS} more are wrong."


def _similar_worker(client: Client, error: ApiError, arguments: Mapping[str, Any]) -> str:
    """Return a question with the worker id that is similar to the command's; "" if there is none."""
    from ava.client import ApiNotFound, ClientError
    from ava.domain.strings import did_you_mean

    worker_id = arguments.get("worker_id")
    if worker_id is None or not (isinstance(error, ApiNotFound) or "worker_id" in error.fields):
        return ""
    try:
        return did_you_mean(worker_id, (worker.id for worker in client.workers.list()))
    except ClientError:
        return ""


def connect(ctx: click.Context, **options: Any) -> Client:
    """Return a client. A connected command's options override the profile, which overrides the environment."""
    from ava import settings
    from ava.cli.options import profiles
    from ava.client import Client

    chosen = {name: ctx.params[name] for name in _NAMES if ctx.params.get(name)}
    defaults = settings.load_client()
    profile = chosen.get("profile") or ctx.find_root().params.get("profile") or defaults.profile
    if profile:
        defaults = profiles.with_profile(defaults, profile)
    if defaults.api_key:
        return _connect_by_key(defaults, chosen, options)
    if not defaults.secret:
        defaults = _of_running_system(defaults)
    return Client(
        chosen.get("url", defaults.url),
        secret=defaults.secret,
        tenant=chosen.get("tenant", defaults.tenant),
        user=chosen.get("user", defaults.user),
        role=chosen.get("role", defaults.role),
        proxy=defaults.proxy or None,
        **options,
    )


def _connect_by_key(defaults: ClientSettings, chosen: Mapping[str, str], options: Mapping[str, Any]) -> Client:
    from ava.client import Client

    if "tenant" in chosen or "role" in chosen:
        reason = "the key determines the tenant and the role; unset it, or omit --tenant and --role"
        raise SettingsError("AVA_API_KEY", reason)
    url, user = chosen.get("url", defaults.url), chosen.get("user", "")
    return Client(url, api_key=defaults.api_key, user=user, proxy=defaults.proxy or None, **options)


def _of_running_system(defaults: ClientSettings) -> ClientSettings:
    """Return the settings with the secret and the URL of the `ava up` that was started in this folder.

    A folder's URL is used only with that folder's secret, so that no folder learns another secret.
    """
    from ava.local import environment

    try:
        secret = _SECRET_FILE.read_text().strip()
    except OSError:
        raise SettingsError(
            "AVA_INTERNAL_SECRET",
            "it is not set; set it to the API's, set AVA_API_KEY, or run the command in the folder of `ava up`",
        ) from None
    url = environment.own("AVA_URL") or environment.of_running_system().get("AVA_URL") or defaults.url
    return replace(defaults, secret=secret, url=url)
