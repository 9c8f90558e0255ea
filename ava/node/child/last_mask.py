"""The mask of this process's last run, which serves the next one if it has the same secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ava.domain.secrets.masking import SecretMask


class LastMask:
    """Makes a mask once for each version of a worker's secrets, as long as no other run comes between.

    A run with other secrets, or with none, drops it: nothing of one tenant's secrets stays for another's handler.
    """

    def __init__(self) -> None:
        self._mask: SecretMask | None = None
        self._digest: bytes | None = None

    def of(self, secrets: Iterable[str]) -> SecretMask | None:
        """Returns what replaces these secrets; None if there are none."""
        known = sorted(set(secrets))
        digest = hashlib.sha256("\0".join(known).encode(errors="surrogatepass")).digest() if known else None
        if digest != self._digest:
            self._mask, self._digest = SecretMask(known) if known else None, digest
        return self._mask
