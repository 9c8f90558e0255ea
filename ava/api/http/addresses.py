"""The address under which clients reach this API."""

from __future__ import annotations

import re

from flask import request

from ava.api.http.context import context

__all__ = ["docs_url"]

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?")


def docs_url() -> str:
    """Returns where errors are explained, as an absolute URL.

    A path is one of this API, at AVA_PUBLIC_URL or else at the host that the request names; it stays a path if that is
    no host.
    """
    settings = context().settings
    if not settings.docs_url.startswith("/"):
        return settings.docs_url
    if settings.public_url:
        return f"{settings.public_url}{settings.docs_url}"
    host = request.headers.get("Host", "")
    return f"{request.scheme}://{host}{settings.docs_url}" if _HOST.fullmatch(host) else settings.docs_url
