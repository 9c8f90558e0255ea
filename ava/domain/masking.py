"""Secrets in texts that are stored or shown: found in the forms in which programs write them, and replaced."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from ava.domain.redaction import HIDDEN

__all__ = ["SecretMask"]

#: Characters of the shortest form that is looked for, apart from a secret itself.
_SHORTEST_FORM = 6
#: Characters of a line of a secret with several lines that is looked for by itself.
_SHORTEST_LINE = 8


class SecretMask:
    """Replaces secrets in texts by `••••••`: themselves, and as they stand in JSON, URLs, `repr`, base64 and hex.

    In base64 they are found wherever they begin in the bytes that were encoded, as in a header of basic authentication.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # The longest first, because one secret may begin another.
        pattern = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        self._replace: Callable[[str, str], str] | None = re.compile(pattern).sub if forms else None

    def text(self, text: str) -> str:
        """Returns a text without the secrets."""
        return text if self._replace is None else self._replace(HIDDEN, text)

    def value(self, value: Any) -> Any:
        """Returns a JSON value without the secrets: those in its strings, its names and its numbers."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = json.dumps(value)
            masked = self.text(written)
            return value if masked == written else masked
        return value


def _forms(secret: str) -> Iterator[str]:
    yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE)
    data = secret.encode()
    written = (
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(data)[2:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        data.hex(),
        data.hex().upper(),
        *_in_base64(data),
    )
    yield from (form for form in written if len(form) >= _SHORTEST_FORM)


def _in_base64(data: bytes) -> Iterator[str]:
    """Yields the characters that stand for these bytes alone, for each of the three places at which they may begin."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        # The first characters stand for what comes before as well, and the last ones for what follows.
        first = (0, 2, 3)[before]
        last = (before + len(data)) * 8 // 6
        core = text[first:last]
        yield core
        yield core.replace("+", "-").replace("/", "_")
