"""The character sets of responses."""

from __future__ import annotations

import codecs
import re

# An allowlist, because some of Python's codecs are not character sets (idna, punycode, unicode_escape), and take
# quadratic time or process escapes.
_CHARSET_NAMES = re.compile(r"(ascii|big5|cp|euc|gb|hz$|iso|johab|koi8|latin|mac|ptcp|shift|tis|utf-(8|16|32))[\w-]*")
_DECLARED = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)


def known(name: str) -> str | None:
    """Return Python's name of a character set; None if Python has no such character set."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,40}", name):
        return None
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return None
    return found if _CHARSET_NAMES.fullmatch(found) else None


def declared_in(content_type: str) -> str | None:
    """Return the character set in a Content-Type; None if Python does not know it."""
    match = _DECLARED.search(content_type[:1_000])
    return known(match[1]) if match else None
