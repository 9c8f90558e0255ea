"""Rate limits by tenant: off unless a setting names one; then every response has the limit in its headers."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request

from ava.api.http.auth import is_open
from ava.api.http.context import caller
from ava.api.http.operations import find_operation
from ava.broker import tls
from ava.settings import Settings

__all__ = ["install"]


def install(app: Flask, settings: Settings) -> None:
    """Limit the requests of each tenant; to be called after the hook that identifies callers is installed."""
    if not settings.rate_limit_read and not settings.rate_limit_write:
        return
    # Imported here, because it loads many modules and is off by default.
    from flask_limiter import Limiter

    limiter = Limiter(
        _key,
        application_limits=[lambda: _limit(settings)],
        storage_uri=tls.plain_url(settings) if settings.broker_is_redis else "memory://",
        storage_options=tls.redis_options(settings) if settings.broker_is_redis else {},
        strategy="moving-window",
        headers_enabled=True,
        retry_after="delta-seconds",
        # Without Redis the API goes on: each process then counts for itself.
        in_memory_fallback_enabled=True,
        key_prefix="ava-rate",
    )
    limiter.request_filter(lambda: _is_unlimited(settings))
    limiter.init_app(app)


def _key() -> str:
    return f"{caller().tenant_id}:{'write' if _is_write() else 'read'}"


def _limit(settings: Settings) -> str:
    return settings.rate_limit_write if _is_write() else settings.rate_limit_read


def _is_unlimited(settings: Settings) -> bool:
    return request.endpoint is None or is_open(request.endpoint) or not _limit(settings)


def _is_write() -> bool:
    view: Any = current_app.view_functions[request.endpoint or ""]
    operation = find_operation(view)
    return operation is not None and operation.is_write
