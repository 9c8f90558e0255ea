"""Browsers that sign in at an application by an identity provider."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from harness.api import HEADERS, Api
from tests.identity_provider import IdentityProvider

URL = "http://ava.test"
NO_HEADERS: dict[str, str | None] = dict.fromkeys(HEADERS)


def as_browser(api: Api, path: str, cookie: str = "", method: str = "GET", **headers: str) -> TestResponse:
    sent = {
        **NO_HEADERS,
        "cookie": cookie or None,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return api.request(method, path, headers=sent, base_url=URL)


def begin(api: Api, query: str = "") -> tuple[str, str]:
    """Begin a sign-in. Return the provider's URL, and the cookie that binds it to this browser."""
    response = as_browser(api, f"/oidc/sign-in{query}")
    assert response.status_code == 303, response.text
    return response.headers["location"], response.headers["set-cookie"].partition(";")[0]


def path_of(url: str) -> str:
    return url.removeprefix(URL)


def sign_in(api: Api, provider: IdentityProvider, person: str = "alice", query: str = "") -> str:
    """Sign a person in. Return the cookie of the session."""
    url, pending = begin(api, query)
    response = as_browser(api, path_of(provider.authorize(url, person)), pending)
    assert response.status_code == 303, response.text
    return session_cookie(response)


def session_cookie(response: TestResponse) -> str:
    (found,) = [each for each in response.headers.getlist("set-cookie") if each.startswith("ava_session=")]
    return found.partition(";")[0]


def make_check_due(api: Api, *, last_seconds_ago: int = 400) -> None:
    """Let time pass since the last check of all sessions."""
    api.execute(
        "UPDATE sessions SET expires_at = now() + (900 - %s) * interval '1 second' WHERE id IN"
        " (SELECT session_id FROM oidc_sessions)",
        last_seconds_ago,
    )
    api.execute("UPDATE oidc_sessions SET next_check_at = now() - interval '1 second'")


def show(api: Api, cookie: str, **headers: str) -> dict[str, Any]:
    """Return the record of a session."""
    response = as_browser(api, "/v1/ava/session", cookie, **headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found
