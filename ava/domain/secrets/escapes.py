"""Escapes that programs write: those of URLs, of JSON and Python, and of HTML, taken away layer by layer."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

#: Layers that are taken away at most: JSON in JSON in a URL has three.
MAX_LAYERS = 5

# Characters of a kind that follow each other are one escape, because several bytes may be one character.
_ESCAPE = re.compile(
    r"""(?:%[0-9A-Fa-f]{2})+
      | (?:\\x[0-9A-Fa-f]{2})+
      | (?:\\u[0-9A-Fa-f]{4})+
      | \\[\\/"'abfnrtv]
      | &(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});""",
    re.VERBOSE,
)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

#: The place of a character in the text before: where it begins and ends.
Span = tuple[int, int]


def layers(text: str) -> Iterator[str]:
    """Yields a text, then the same without its outermost escapes, and so on until none is left or `MAX_LAYERS`."""
    yield text
    for _ in range(MAX_LAYERS):
        if "%" not in text and "\\" not in text and "&" not in text:
            return
        decoded = _ESCAPE.sub(lambda found: _decode(found[0]), text)
        if decoded == text:
            return
        text = decoded
        yield text


def spans(text: str) -> Sequence[Span]:
    """Returns, for each character of the layer below a text, where it stands in the text."""
    found: list[Span] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        found += ((n, n + 1) for n in range(end, escape.start()))
        found += _spans_of_escape(escape[0], escape.start())
        end = escape.end()
    found += ((n, n + 1) for n in range(end, len(text)))
    return found


def _decode(escape: str) -> str:
    match escape[:2]:
        case "\\x":
            return _text(bytes.fromhex(escape.replace("\\x", "")))
        case "\\u":
            # Two surrogates are one character.
            return bytes.fromhex(escape.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    match escape[0]:
        case "%":
            return _text(bytes.fromhex(escape.replace("%", "")))
        case "&":
            return html.unescape(escape)
    return _CONTROL.get(escape[1], escape[1])


def _text(data: bytes) -> str:
    """Returns bytes as UTF-8 if they are that, else as Latin-1, which `ascii()` writes."""
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
