"""The client of a backend, from its options and the environment."""

from __future__ import annotations

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
_CLIENT = OPTIONS - {"outbox", "database", "modules"}


def client_of(options: Mapping[str, Any]) -> Client:
    """Return a client. Raises `ImproperlyConfigured` without the API's URL or the caller's credentials."""
    given = {name: options[name] for name in _CLIENT if options.get(name) not in (None, "")}
    try:
        return Client.from_environment(**given)
    except ValueError as error:
        needed = "url and api_key, or url, secret, tenant and user"
        raise ImproperlyConfigured(f"TASKS: OPTIONS needs {needed}; or {error}.") from error
