"""The connection of commands to the API: settings, a profile, options, and the secret of `ava up`; and profiles."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ava.errors import CallFailed, SettingsError
from ava.settings import ClientSettings

if TYPE_CHECKING:
    from ava.client import ApiError, Client
    from ava.settings import ClientSettings


#: The fields of a profile. It requires the first, and one of the two keys.
_FIELDS = ("url", "secret", "api_key", "tenant", "user", "role", "proxy")


def with_profile(settings: ClientSettings, name: str) -> ClientSettings:
    """Return the settings, overridden by a profile of the configuration file.

    The key is always the profile's, because the environment's belongs to another installation. Raises `SettingsError`.
    """
    profiles = _read(Path(settings.config_file))
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise SettingsError(
            f"profile {name!r}", f"the file {settings.config_file} has no such profile; it has: {known}"
        )
    values = profiles[name]
    problem = _problem(values)
    if problem:
        raise SettingsError(f"profile {name!r}", f"{problem}; it is in {settings.config_file}")
    return replace(settings, **{"proxy": "", "secret": "", "api_key": "", **values})


def names(settings: ClientSettings) -> list[str]:
    """Return the names of all profiles. Raises `SettingsError` if the file cannot be used."""
    path = Path(settings.config_file)
    return sorted(_read(path)) if path.exists() else []


def _problem(values: Any) -> str | None:
    """Return the problem of a profile, or None."""
    if not isinstance(values, dict):
        return "it must be a table, as in [prod]"
    if unknown := sorted(set(values) - set(_FIELDS)):
        return f"unknown field {unknown[0]}; the fields are {', '.join(_FIELDS)}"
    if wrong := [name for name in values if not isinstance(values[name], str)]:
        return f"{wrong[0]} must be a string"
    missing = [] if values.get("url") else ["url"]
    if not values.get("secret") and not values.get("api_key"):
        missing.append("secret (or api_key)")
    if missing:
        return f"it needs {' and '.join(missing)}"
    if urlsplit(values["url"]).scheme not in ("http", "https"):
        return "its url must begin with http:// or https://"
    return None


def _read(path: Path) -> dict[str, Any]:
    """Return the file's tables. Raises `SettingsError` if anyone but its owner may read or write it."""
    try:
        with path.open("rb") as file:
            # Check the open file, because its path may name another file by then.
            _require_private(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except OSError as problem:
        raise SettingsError(str(path), f"it cannot be read ({problem.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        # The reader's message contains a position and no value.
        raise SettingsError(str(path), f"it is not valid TOML: {problem}") from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsError(str(path), f"it contains keys, but other accounts can open it; run: chmod 600 {path}")
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            str(path), "it belongs to another account, which could redirect the keys; use a file of your own"
        )


_MAX_FIELDS = 6
#: Where `ava up` keeps the secret that it generates, in the folder that it is started in.
_SECRET_FILE = Path(".ava") / "internal-secret"


def _complete_profile(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from contextlib import suppress

    from ava import settings

    with suppress(SettingsError):
        return [name for name in names(settings.load_client()) if name.startswith(incomplete)]
    return []


profile_option: Callable[..., Any] = click.option(
    "--profile", help="The profile of the configuration file to use.  [AVA_PROFILE]", shell_complete=_complete_profile
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
#: The names of these options; a field of that name gets an underscore.
NAMES = ("profile", "url", "tenant", "user", "role")
_METHOD_NOT_ALLOWED = 405


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a `client` to a command as its first argument, and add the options that identify the caller.

    Raises `CallFailed` if a call of the command fails.
    """

    @wraps(command)
    def run(**arguments: Any) -> Any:
        from ava.client import ApiError, ClientError

        rest = {name: value for name, value in arguments.items() if name not in NAMES}
        options = {"dry_run": True} if rest.pop("is_dry_run", False) else {}
        try:
            with connect(click.get_current_context(), **options) as client:
                try:
                    return command(client, **rest)
                except ApiError as error:
                    raise CallFailed(f"{_message(error)}{_similar_worker(client, error, rest)}") from error
        except ClientError as error:
            raise CallFailed(str(error)) from error

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _message(error: ApiError) -> str:
    """Return a failure's message; with several invalid fields the message of each, up to `_MAX_FIELDS`."""
    if error.status == _METHOD_NOT_ALLOWED or "no such route" in str(error):
        return "The API has no such operation, or no object with this id; its release may be older than this command's."
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
    from ava.client import Client

    chosen = {name: ctx.params[name] for name in NAMES if ctx.params.get(name)}
    defaults = settings.load_client()
    profile = chosen.get("profile") or ctx.find_root().params.get("profile") or defaults.profile
    if profile:
        defaults = with_profile(defaults, profile)
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
