"""The client of a backend, from its options and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ava.client import Client

__all__ = ["OPTIONS", "client_of"]

OPTIONS = frozenset(
    {
        "url",
        "api_key",
        "secret",
        "tenant",
        "user",
        "role",
        "timeout_seconds",
        "retries",
        "outbox",
        "database",
        "modules",
    }
)
_VARIABLES = {
    "url": "AVA_URL",
    "api_key": "AVA_API_KEY",
    "secret": "AVA_INTERNAL_SECRET",
    "tenant": "AVA_TENANT_ID",
    "user": "AVA_USER_ID",
}


def client_of(options: Mapping[str, Any]) -> Client:
    """Return a client. Raises `ImproperlyConfigured` without the API's URL or the caller's credentials."""
    given = {name: options.get(name) or os.environ.get(variable, "") for name, variable in _VARIABLES.items()}
    if not (url := given.pop("url")):
        raise ImproperlyConfigured("TASKS: OPTIONS needs the url of the API, or set AVA_URL.")
    if given["api_key"]:
        given.pop("secret"), given.pop("tenant")
    # The first of several valid keys.
    elif given["secret"]:
        given["secret"] = given["secret"].partition(",")[0].strip()
    more = {name: options[name] for name in ("role", "timeout_seconds", "retries") if name in options}
    try:
        return Client(url, **{name: value for name, value in given.items() if value}, **more)
    except ValueError as error:
        raise ImproperlyConfigured(f"TASKS: OPTIONS: {error}; or set AVA_API_KEY.") from error
