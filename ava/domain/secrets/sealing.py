"""Encryption of secrets before they are stored: Fernet, with keys that can be rotated."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ava.errors import EncryptionKeyMissing, SecretUnreadable


class Sealer:
    """Encrypts with the first of several keys, and decrypts with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: each 32 bytes in base64, the newest first. Without keys every method but `opens` raises."""
        self._given = tuple(keys)
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def of_tenant(self, tenant_id: str) -> Sealer:
        """Returns a sealer with keys that only this tenant's secrets are sealed with."""
        return Sealer([_derived(key, f"tenant {tenant_id}") for key in self._given])

    def seal(self, secret: str) -> str:
        """Returns a secret encrypted. Raises `EncryptionKeyMissing`."""
        return self._keys().encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Returns a secret decrypted. Raises `SecretUnreadable` if no key fits, and `EncryptionKeyMissing`."""
        try:
            return self._keys().decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def opens(self, sealed: str | None) -> bool:
        """Returns True if any of the keys fits, or if there is no secret."""
        try:
            return sealed is None or bool(self.open(sealed))
        except (SecretUnreadable, EncryptionKeyMissing):
            return False

    def reseal(self, sealed: str) -> str:
        """Returns a secret encrypted with the first key. Raises what `open` raises."""
        return self.seal(self.open(sealed))

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise EncryptionKeyMissing
        return self._fernet


def worker_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """Returns the keys from which those of tenants are derived, for the secrets of workers alone.

    A node gets these and not `keys`, so that its handlers cannot open the secrets of webhooks.
    """
    return tuple(_derived(key, "workers") for key in keys)


@lru_cache(maxsize=1024)
def _derived(key: str, purpose: str) -> str:
    """Returns a key that is derived from another one (HKDF, RFC 5869)."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"ava {purpose}".encode())
    material = base64.b64decode(key.replace("-", "+").replace("_", "/"))
    return base64.urlsafe_b64encode(derivation.derive(material)).decode()
