"""Secrets in texts that are stored or shown: found in the forms in which programs write them, and replaced.

One search finds all secrets at once (Aho-Corasick), so its time grows with the text and not with their number.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ahocorasick_rs import AhoCorasick

from ava.domain.secrets import escapes
from ava.domain.secrets.redaction import HIDDEN

#: Characters of the shortest form that is looked for, apart from a secret itself.
_MIN_FORM_CHARS = 6
#: Characters of the shortest line of a secret with several lines that is looked for by itself.
_MIN_LINE_CHARS = 16
#: Characters of a form that are looked for; a longer form is compared where they are found. It bounds the memory.
_NEEDLE_CHARS = 64

_NO_SPACE = {ord(space): None for space in " \t\r\n\v\f"}
_BASE64 = str.maketrans({ord("-"): "+", ord("_"): "/"} | _NO_SPACE)
_HEX = str.maketrans({ord(upper): upper.lower() for upper in "ABCDEF"} | _NO_SPACE | {ord("-"): None, ord(":"): None})
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Characters of a text from one to before another.
_Range = tuple[int, int]


class _Search:
    """Finds forms in texts."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms: dict[str, list[str]] = {}
        for form in forms:
            self._forms.setdefault(form[:_NEEDLE_CHARS], []).append(form)
        self._needles = list(self._forms)
        # The library keeps no copy of the secrets that Python code could find.
        self._automaton = AhoCorasick(self._needles, store_patterns=False) if self._needles else None

    def find(self, text: str) -> list[_Range]:
        """Returns where forms stand in a text. Of a long form whose beginning alone is there, the beginning."""
        if self._automaton is None:
            return []
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        return [(start, self._end(text, needle, start, end)) for needle, start, end in found]

    def _end(self, text: str, needle: int, start: int, end: int) -> int:
        if end - start < _NEEDLE_CHARS:
            return end
        forms = self._forms[self._needles[needle]]
        return max((start + len(form) for form in forms if text.startswith(form, start)), default=end)


class SecretMask:
    """Replaces secrets in texts by `••••••`: themselves, and as they stand in JSON, URLs, HTML, `repr`, base64 and hex.

    Escapes are taken away before the search, so it does not matter which characters a program escapes. In base64 they
    are found wherever they begin in the bytes that were encoded, as in a header of basic authentication. Not found is
    a secret that is split over lines, reversed, compressed or encrypted. `docs/explain/security.md` lists the forms.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {_searchable(secret) for secret in secrets if secret}
        lines = {line for secret in known for line in _lines(secret)}
        self._plain = _Search({_spaced(layer) for text in known | lines for layer in escapes.layers(text)})
        self._base64 = _Search({form for secret in known for form in _in_base64(secret.encode())})
        self._hex = _Search({form for secret in known if len(form := secret.encode().hex()) >= _MIN_FORM_CHARS})

    def text(self, text: str) -> str:
        """Returns a text without the secrets."""
        found = self._find(text)
        return _replaced(text, found) if found else text

    def json_text(self, text: str) -> str:
        """Returns a JSON text without the secrets. It stays JSON, and is the same text if there are none."""
        if not self._find(text):
            return text
        return json.dumps(self.value(json.loads(text)), separators=(",", ":"))

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

    def _find(self, text: str) -> list[_Range]:
        found: list[_Range] = []
        above: list[str] = []
        for layer in escapes.layers(_searchable(text)):
            here = self._plain.find(_spaced(layer))
            for search, table in ((self._base64, _BASE64), (self._hex, _HEX)):
                if packed := search.find(_translated(layer, table)):
                    kept = [n for n, char in enumerate(layer) if table.get(ord(char), "") is not None]
                    here += [(kept[start], kept[end - 1] + 1) for start, end in packed]
            for upper in reversed(above) if here else ():
                spans = escapes.spans(upper)
                here = [(spans[start][0], spans[end - 1][1]) for start, end in here]
            found += here
            above.append(layer)
        return found


def _searchable(text: str) -> str:
    """Returns a text of as many characters without lone surrogates, which the search cannot take."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _spaced(text: str) -> str:
    # A form of a URL writes a space as a plus. Both sides of the comparison have it as a space.
    return text.replace("+", " ")


def _translated(text: str, table: dict[int, Any]) -> str:
    if text.isascii():
        return text.translate(table)
    # `translate` is twenty times slower for other texts.
    for code, replacement in table.items():
        text = text.replace(chr(code), replacement or "")
    return text


def _lines(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    return (line for line in lines if len(lines) > 1 and len(line) >= _MIN_LINE_CHARS)


def _in_base64(data: bytes) -> Iterator[str]:
    """Yields the characters that stand for these bytes alone, for each of the three places at which they may begin."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        # The first characters stand for what comes before as well, and the last ones for what follows.
        first = (0, 2, 3)[before]
        core = text[first : (before + len(data)) * 8 // 6]
        if len(core) >= _MIN_FORM_CHARS:
            yield core


def _replaced(text: str, found: Sequence[_Range]) -> str:
    pieces: list[str] = []
    copied = 0
    for start, end in sorted(found):
        if start > copied or not pieces:
            pieces += [text[copied:start], HIDDEN]
        copied = max(copied, end)
    return "".join(pieces) + text[copied:]
