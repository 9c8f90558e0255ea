"""Mask secrets in strings that are stored or shown, in the usual encodings of programs.

One search finds all secrets (Aho-Corasick), so its time depends on the string's length, not on their number.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ahocorasick_rs import AhoCorasick

from ava.domain.secrets.redaction import HIDDEN

#: Max layers that are undone: JSON in JSON in a URL has three.
MAX_LAYERS = 5

# Adjacent escapes of a kind form one match, because several bytes may encode one character.
_ESCAPE = re.compile(
    r"""(?:%[0-9A-Fa-f]{2})+
      | (?:\\x[0-9A-Fa-f]{2})+
      | (?:\\u[0-9A-Fa-f]{4})+
      | \\[\\/"'abfnrtv]
      | &(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});""",
    re.VERBOSE,
)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

#: Start and end of a character in the escaped string.
Span = tuple[int, int]


def layers(string: str) -> Iterator[str]:
    """Yield a string, then without its outermost escapes, and so on until none is left or `MAX_LAYERS` are undone."""
    yield string
    for _ in range(MAX_LAYERS):
        if "%" not in string and "\\" not in string and "&" not in string:
            return
        decoded = _ESCAPE.sub(lambda found: _decode(found[0]), string)
        if decoded == string:
            return
        string = decoded
        yield string


def escape_spans(string: str) -> Sequence[Span]:
    """Return, for each character of the next layer, its position in the escaped string."""
    found: list[Span] = []
    end = 0
    for escape in _ESCAPE.finditer(string):
        found += ((n, n + 1) for n in range(end, escape.start()))
        found += _spans_of_escape(escape[0], escape.start())
        end = escape.end()
    found += ((n, n + 1) for n in range(end, len(string)))
    return found


def _decode(escape: str) -> str:
    match escape[:2]:
        case "\\x":
            return _string(bytes.fromhex(escape.replace("\\x", "")))
        case "\\u":
            # Two surrogates encode one character.
            return bytes.fromhex(escape.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    match escape[0]:
        case "%":
            return _string(bytes.fromhex(escape.replace("%", "")))
        case "&":
            return html.unescape(escape)
    return _CONTROL.get(escape[1], escape[1])


def _string(data: bytes) -> str:
    """Decode bytes as UTF-8, or as Latin-1, which `ascii()` writes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _spans_of_escape(escape: str, start: int) -> Iterator[Span]:
    decoded = _decode(escape)
    step = {"%": 3, "\\x": 4, "\\u": 6}.get(escape[0] if escape[0] == "%" else escape[:2])
    if step is None:
        yield from ((start, start + len(escape)) for _ in decoded)
        return
    units = len(escape) // step
    is_utf8 = step != 6 and len(decoded) != units
    for char in decoded:
        width = len(char.encode("utf-8", "surrogatepass")) if is_utf8 else 1 + (step == 6 and ord(char) > 0xFFFF)
        yield start, start + width * step
        start += width * step


#: Min characters of a form to search for, except a secret itself.
_MIN_FORM_CHARS = 6
#: Min characters of a line of a multi-line secret that is searched for individually.
_MIN_LINE_CHARS = 16
#: A longer form is compared in full where its needle is found. It bounds the memory.
_NEEDLE_CHARS = 64

_NO_SPACE = {ord(space): None for space in " \t\r\n\v\f"}
_BASE64 = str.maketrans({ord("-"): "+", ord("_"): "/"} | _NO_SPACE)
_HEX = str.maketrans({ord(upper): upper.lower() for upper in "ABCDEF"} | _NO_SPACE | {ord("-"): None, ord(":"): None})
_SURROGATE = re.compile("[\ud800-\udfff]")

_Range = tuple[int, int]


class _Search:
    def __init__(self, forms: Iterable[str]) -> None:
        self._forms: dict[str, list[str]] = {}
        for form in forms:
            self._forms.setdefault(form[:_NEEDLE_CHARS], []).append(form)
        self._needles = list(self._forms)
        # `store_patterns=False`: the library retains no Python copy of the secrets.
        self._automaton = AhoCorasick(self._needles, store_patterns=False) if self._needles else None

    def find(self, string: str) -> list[_Range]:
        """Return the positions of the forms in a string. Of a long form that is truncated, the needle's position."""
        if self._automaton is None:
            return []
        found = self._automaton.find_matches_as_indexes(string, overlapping=True)
        return [(start, self._end(string, needle, start, end)) for needle, start, end in found]

    def _end(self, string: str, needle: int, start: int, end: int) -> int:
        if end - start < _NEEDLE_CHARS:
            return end
        forms = self._forms[self._needles[needle]]
        return max((start + len(form) for form in forms if string.startswith(form, start)), default=end)


class SecretMask:
    """Replace secrets by `••••••`: verbatim, and as written in JSON, URLs, HTML, `repr`, base64 and hex.

    Escapes are undone before the search, so it does not matter which characters a program escapes. Base64 is found at
    any offset of the encoded bytes, as in a header of basic authentication. Secrets that are split over lines,
    reversed, compressed or encrypted are not found. `docs/explain/security.md` lists the forms.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {_searchable(secret) for secret in secrets if secret}
        lines = {line for secret in known for line in _lines(secret)}
        self._plain = _Search({_spaced(layer) for string in known | lines for layer in layers(string)})
        self._base64 = _Search({form for secret in known for form in _in_base64(secret.encode())})
        self._hex = _Search({form for secret in known if len(form := secret.encode().hex()) >= _MIN_FORM_CHARS})

    def string(self, string: str) -> str:
        found = self._find(string)
        return _replaced(string, found) if found else string

    def json_string(self, string: str) -> str:
        """Mask a JSON string, which stays valid JSON. Without secrets it is returned unchanged."""
        if not self._find(string):
            return string
        return json.dumps(self.value(json.loads(string)), separators=(",", ":"))

    def value(self, value: Any) -> Any:
        """Mask a JSON value: in its strings, names and numbers."""
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, dict):
            return {self.string(name): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = json.dumps(value)
            masked = self.string(written)
            return value if masked == written else masked
        return value

    def _find(self, string: str) -> list[_Range]:
        found: list[_Range] = []
        above: list[str] = []
        for layer in layers(_searchable(string)):
            here = self._plain.find(_spaced(layer))
            for search, table in ((self._base64, _BASE64), (self._hex, _HEX)):
                if packed := search.find(_translated(layer, table)):
                    retained = [n for n, char in enumerate(layer) if table.get(ord(char), "") is not None]
                    here += [(retained[start], retained[end - 1] + 1) for start, end in packed]
            for upper in reversed(above) if here else ():
                spans = escape_spans(upper)
                here = [(spans[start][0], spans[end - 1][1]) for start, end in here]
            found += here
            above.append(layer)
        return found


def _searchable(string: str) -> str:
    """Replace lone surrogates, which the search cannot process; the length stays."""
    return string if string.isascii() else _SURROGATE.sub("\ufffd", string)


def _spaced(string: str) -> str:
    # URLs write a space as a plus, so both sides of the comparison replace it.
    return string.replace("+", " ")


def _translated(string: str, table: dict[int, Any]) -> str:
    if string.isascii():
        return string.translate(table)
    # `translate` is 20 times slower for strings that are not ASCII.
    for code, replacement in table.items():
        string = string.replace(chr(code), replacement or "")
    return string


def _lines(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    return (line for line in lines if len(lines) > 1 and len(line) >= _MIN_LINE_CHARS)


def _in_base64(data: bytes) -> Iterator[str]:
    """Yield, for each of the three possible offsets, the base64 characters that depend only on these bytes."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        # The first characters also encode the preceding bytes, and the last ones the following bytes.
        first = (0, 2, 3)[before]
        core = encoded[first : (before + len(data)) * 8 // 6]
        if len(core) >= _MIN_FORM_CHARS:
            yield core


def _replaced(encoded: str, found: Sequence[_Range]) -> str:
    pieces: list[str] = []
    copied = 0
    for start, end in sorted(found):
        if start > copied or not pieces:
            pieces += [encoded[copied:start], HIDDEN]
        copied = max(copied, end)
    return "".join(pieces) + encoded[copied:]
