"""Tokens, the secrets that arrive without a tenant: `<kind>_<mark>.<lookup><secret>`, both parts base64url.

The mark names the cell (the installation) that created the token. The lookup is stored in plain and finds the row; the
secret is stored as a hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: 16 characters: unique for practical purposes.
_LOOKUP_BYTES = 12
#: 43 characters: brute force cannot reverse a plain SHA-256 of them.
_SECRET_BYTES = 32
_FORM = re.compile(
    r"(?P<kind>[a-z]+)_(?P<mark>[a-z0-9]{2})\.(?P<lookup>[A-Za-z0-9_-]{16})(?P<secret>[A-Za-z0-9_-]{43})"
)
#: A base64url character; in a URL it may be percent-encoded.
_CHARACTER = "(?:[A-Za-z0-9_-]|%5[Ff]|%2[Dd])"
#: Tokens in a string, including tokens with a truncated secret or further characters.
_IN_STRING = re.compile(rf"(?P<shown>ava[a-z]*(?:_|%5[Ff])[a-z0-9]{{2}}(?:\.|%2[Ee]){_CHARACTER}{{16}}){_CHARACTER}+")
#: Compared with an unknown token's secret, so that it takes the same time as a known one.
_NO_HASH = bytes(hashlib.sha256().digest_size)


class TokenKind(StrEnum):
    """The purpose of a token, which is invalid for another."""

    API_KEY = "ava"
    HOOK = "avahook"
    RUN = "avarun"
    LINK = "avalink"
    SESSION = "avases"


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    kind: TokenKind
    mark: str
    lookup: str
    secret: str = field(repr=False)

    @property
    def encoded(self) -> str:
        return f"{self.kind}_{self.mark}.{self.lookup}{self.secret}"


def make(kind: TokenKind, mark: str) -> Token:
    lookup, secret = secrets.token_urlsafe(_LOOKUP_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return Token(kind=kind, mark=mark, lookup=lookup, secret=secret)


def parse(string: str, kind: TokenKind) -> Token | None:
    """Parse a token of the given kind, from any cell; None if it is invalid."""
    found = _FORM.fullmatch(string)
    if found is None or found["kind"] != kind:
        return None
    return Token(kind=kind, mark=found["mark"], lookup=found["lookup"], secret=found["secret"])


def without_secrets(string: str) -> str:
    """Cut off the secret of each token in a string, so that the lookup still finds the row."""
    return _IN_STRING.sub(r"\g<shown>...", string)


def hash_of(token: Token, key: str = "") -> bytes:
    """Return the hash of a token's secret for storage; with a key, it is useless without that key."""
    digest = hashlib.sha256(token.secret.encode()).digest()
    return hmac.digest(key.encode(), digest, "sha256") if key else digest


def is_hash_of(stored: bytes | None, token: Token, keys: Sequence[str] = ("",)) -> bool:
    """Return True if the stored hash matches the token's secret with any of the keys; None: the lookup is unknown.

    The time reveals neither whether the lookup is known, nor which key matches.
    """
    expected = _NO_HASH if stored is None else stored
    return True in [hmac.compare_digest(expected, hash_of(token, key)) for key in keys] and stored is not None
