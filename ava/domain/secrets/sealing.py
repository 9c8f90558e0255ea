"""Encrypt secrets before they are stored: Fernet, with keys that can be rotated."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ava.errors import EncryptionKeyMissing, SecretUnreadable


class Sealer:
    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: each 32 bytes, newest first. Without keys every method except `opens` raises."""
        self._given = tuple(keys)
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys]) if keys else None

    def of_tenant(self, tenant_id: str) -> Sealer:
        """Return a sealer with keys for this tenant's secrets only."""
        return Sealer([_derived(key, f"tenant {tenant_id}") for key in self._given])

    def of_purpose(self, purpose: str) -> Sealer:
        """Return a sealer with keys for this purpose only."""
        return Sealer([_derived(key, purpose) for key in self._given])

    def seal(self, secret: str) -> str:
        """Encrypt a secret. Raise `EncryptionKeyMissing`."""
        return self._keys().encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a secret. Raise `SecretUnreadable` if no key fits, or `EncryptionKeyMissing`."""
        try:
            return self._keys().decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def opens(self, sealed: str | None) -> bool:
        """Return True if any key fits, or there is no secret."""
        try:
            return sealed is None or bool(self.open(sealed))
        except (SecretUnreadable, EncryptionKeyMissing):
            return False

    def reseal(self, sealed: str) -> str:
        """Encrypt a secret again with the first key. Raise like `open`."""
        return self.seal(self.open(sealed))

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise EncryptionKeyMissing
        return self._fernet


def worker_keys(keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """Derive the keys that tenants' keys for worker secrets are derived from.

    A node gets these instead of `keys`, so that its handlers cannot decrypt webhook secrets.
    """
    return tuple(_derived(key, "workers") for key in keys)


@lru_cache(maxsize=1024)
def _derived(key: bytes, purpose: str) -> bytes:
    """Derive a key from another one (HKDF, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"ava {purpose}".encode()).derive(key)
