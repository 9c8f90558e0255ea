"""Sealing secrets before they are stored: Fernet, with keys that can be rotated."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ava.errors import EncryptionKeyMissing, SecretUnreadable

__all__ = ["Sealer"]


class Sealer:
    """Seals with the first of several keys, and opens what any of them sealed."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: each 32 bytes in base64, the newest first. Without any, nothing can be sealed or opened."""
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def seal(self, secret: str) -> str:
        """Seal a secret. Raises `EncryptionKeyMissing`."""
        return self._keys().encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Open what was sealed. Raises `SecretUnreadable` where none of the keys fits, and `EncryptionKeyMissing`."""
        try:
            return self._keys().decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def opens(self, sealed: str | None) -> bool:
        """Whether any of the keys fits; where there is no secret, any does."""
        try:
            return sealed is None or bool(self.open(sealed))
        except (SecretUnreadable, EncryptionKeyMissing):
            return False

    def reseal(self, sealed: str) -> str:
        """Seal anew with the first key. Raises like `open`."""
        return self.seal(self.open(sealed))

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise EncryptionKeyMissing
        return self._fernet
