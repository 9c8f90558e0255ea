"""Undo the escapes of URLs, JSON, Python and HTML, layer by layer."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

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


def spans(string: str) -> Sequence[Span]:
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
