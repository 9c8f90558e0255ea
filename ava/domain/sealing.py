"""Encryption of secrets before they are stored: Fernet, with keys that can be rotated."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ava.errors import EncryptionKeyMissing, SecretUnreadable

__all__ = ["Sealer"]


class Sealer:
    """Encrypts with the first of several keys, and decrypts with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: each 32 bytes in base64, the newest first. Without keys every method but `opens` raises."""
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

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
