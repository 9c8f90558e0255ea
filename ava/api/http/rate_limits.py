"""Rate limits per API key, or per tenant for callers without a key.

They are off unless a setting enables one; then every response states the limit in its headers.
"""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, request
from flask.typing import ResponseReturnValue

from ava.api.http.callers.auth import is_open
from ava.api.http.context import caller
from ava.api.http.operations import find_operation
from ava.broker import broker_url
from ava.broker.broker_url import redis_options
from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.settings import Settings

_WRITING = frozenset({"POST", "PUT", "DELETE"})
#: Blueprints: calls of pulled runs have a separate rate, and MCP counts its own requests.
_RUNS, _MCP = "runs", "mcp"
_EXTENSION = "ava_rate_limits"
_LIMITS = (limits.RATE_LIMIT_READ, limits.RATE_LIMIT_WRITE, limits.RATE_LIMIT_WEBHOOKS, limits.RATE_LIMIT_RUNS)


def install(app: Flask, settings: Settings) -> None:
    """Limit the requests of each key and tenant; call it after installing the hook that identifies callers."""
    if not any(getattr(settings, limit.field or "") for limit in _LIMITS):
        return
    # Imported here, because it loads many modules and is off by default.
    from flask_limiter import ApplicationLimit, Limiter

    storage, options = broker_url.limiter_storage(settings)
    limiter = Limiter(
        lambda: f"{_counted()}:{_limit(settings).name}",
        application_limits=[
            ApplicationLimit(lambda: _rate(settings), error_message=lambda: _refusal(settings)),
            ApplicationLimit(
                lambda: _tenant_rate(settings),
                key_function=lambda: f"{caller().tenant_id}:{_limit(settings).name}",
                error_message=lambda: _tenant_refusal(settings),
            ),
        ],
        storage_uri=storage,
        storage_options={**options, **redis_options(settings)},
        strategy="moving-window",
        headers_enabled=True,
        retry_after="delta-seconds",
        # Without Redis the API keeps serving: each process then counts its own requests.
        in_memory_fallback_enabled=True,
        key_prefix="ava-rate",
    )
    limiter.request_filter(lambda: _is_unlimited(settings))
    limiter.init_app(app)
    # Whether an MCP request reads or writes is known only after reading it.
    app.extensions[_EXTENSION] = check = app.before_request_funcs[None].pop()

    @app.before_request
    def check_others() -> ResponseReturnValue | None:
        return None if request.blueprint == _MCP else cast("ResponseReturnValue | None", check())


def count() -> None:
    """Count an MCP request that calls no route, as a read. Raises the refusal beyond the rate.

    Does nothing if the request is already counted, or no rate is limited.
    """
    check = current_app.extensions.get(_EXTENSION)
    if check is not None and not g.get("is_counted"):
        g.is_counted = True
        check()


def _counted() -> str:
    """Return the id to count a request for: the API key (for a run's call, the key that claimed it) or the tenant."""
    return caller().key_id or caller().tenant_id


def _refusal(settings: Settings) -> str:
    whose = "this tenant" if caller().key_id is None else "this API key"
    sentence = (
        f"Too many requests; the rate limit of {whose} is {_rate(settings)}. Wait for the seconds in Retry-After."
    )
    return _limit(settings).message(sentence)


def _tenant_refusal(settings: Settings) -> str:
    sentence = f"Too many requests; the rate limit of all API keys of this tenant is {_tenant_rate(settings)}."
    return limits.RATE_LIMIT_TENANT_KEYS.message(f"{sentence} Wait for the seconds in Retry-After.")


def _limit(settings: Settings) -> Limit:
    operation = find_operation(current_app.view_functions[request.endpoint]) if request.endpoint else None
    if request.blueprint == _RUNS:
        g.rate_limit = limits.RATE_LIMIT_RUNS
    elif operation is not None and operation.is_outgoing and settings.rate_limit_webhooks:
        g.rate_limit = limits.RATE_LIMIT_WEBHOOKS
    else:
        is_write = request.method in _WRITING and request.blueprint != _MCP
        g.rate_limit = limits.RATE_LIMIT_WRITE if is_write else limits.RATE_LIMIT_READ
    found: Limit = g.rate_limit
    return found


def _rate(settings: Settings) -> str:
    rate: str = getattr(settings, _limit(settings).field or "")
    return rate


def _tenant_rate(settings: Settings) -> str:
    """Return the rate of all the tenant's keys together; "" without a key, because the tenant's own rate applies."""
    if caller().key_id is None:
        return ""
    count, _, span = _rate(settings).partition("/")
    return f"{int(count) * settings.rate_limit_tenant_keys}/{span}"


def _is_unlimited(settings: Settings) -> bool:
    return request.endpoint is None or is_open(request.endpoint) or not _rate(settings)
