"""A certified OpenID provider (npm `oidc-provider`) in a process of its own, and browsers that sign in at it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from tests import npm

_SOURCES = Path(__file__).parent / "integration/oidc"
SECRET = "secret-of-a-client"


class IdentityProvider:
    def __init__(self, issuer: str, client_url: str) -> None:
        self.issuer = issuer
        #: The address of the client, to which browsers are sent back.
        self.client_url = client_url

    def control(self, op: str, **options: Any) -> Any:
        """Change the provider, or ask it for a token: `CONTROLS` in provider.mjs."""
        response = requests.post(f"{self.issuer}/control", json={"op": op, **options}, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def set_person(self, id_: str, **claims: Any) -> None:
        """Add a person, or replace its claims."""
        self.control("account", id=id_, claims=claims)

    def authorize(self, url: str, person: str, browser: requests.Session | None = None) -> str:
        """Follow an authorization URL as a browser in which a person signs in. Return where it is sent back."""
        browser = browser or requests.Session()
        url = f"{url}&login_hint={person}"
        for _ in range(9):
            response = browser.get(url, allow_redirects=False, timeout=20)
            assert response.status_code in (302, 303), (response.status_code, response.text[:500])
            url = response.headers["location"]
            if url.startswith("/"):
                url = f"{self.issuer}{url}"
            if url.startswith(self.client_url):
                return url
        raise AssertionError("the provider redirects without end")

    def tokens(self, person: str, *, client_id: str = "other", **extra: str) -> dict[str, Any]:
        """Return what the token endpoint gives to a client after a person has signed in."""
        verifier = "v" * 43
        query = {
            "client_id": client_id,
            "response_type": "code",
            "redirect_uri": f"{self.client_url}/oidc/callback",
            "scope": "openid profile",
            "nonce": "of-a-test",
            "code_challenge": base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
            "code_challenge_method": "S256",
            **extra,
        }
        sent_back = self.authorize(f"{self.issuer}/auth?{urlencode(query)}", person)
        form = {
            "grant_type": "authorization_code",
            "code": query_of(sent_back)["code"],
            "redirect_uri": query["redirect_uri"],
            "code_verifier": verifier,
        } | ({"resource": extra["resource"]} if "resource" in extra else {})
        response = requests.post(f"{self.issuer}/token", data=form, auth=(client_id, SECRET), timeout=20)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, without verification."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def encoded(value: dict[str, Any]) -> str:
    """Return a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@contextmanager
def running(client_url: str) -> Iterator[IdentityProvider]:
    """Run a provider with a client at an address. Without npm the test is skipped, and fails with CI set."""
    installed = npm.packages(_SOURCES)
    # Node looks for packages beside the program.
    shutil.copy(_SOURCES / "provider.mjs", installed)
    process = subprocess.Popen(
        ["node", "provider.mjs", client_url],
        cwd=installed,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        issuer = next((line.strip() for line in process.stdout if line.startswith("http://")), "")
        assert issuer, f"the provider ended with {process.poll()}"
        yield IdentityProvider(issuer, client_url)
    finally:
        process.kill()
        process.communicate()
