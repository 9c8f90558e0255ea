"""Texts from handlers, made fit to be stored: what they raised, logged or printed."""

from __future__ import annotations

__all__ = ["LONGEST_ERROR", "LONGEST_LINE", "one_line", "storable"]

#: Characters of a log line; a longer one is cut, and says so.
LONGEST_LINE = 16_384
#: Characters of a job's `error`.
LONGEST_ERROR = 1_000


def storable(text: str, longest: int = LONGEST_LINE) -> str:
    """Returns a text cut to a length, with NUL and lone surrogates escaped, which PostgreSQL's text cannot hold."""
    if len(text) > longest:
        text = f"{text[:longest]}… ({len(text)} characters, cut)"
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def one_line(text: str, longest: int = LONGEST_ERROR) -> str:
    """Returns a text as one line: each run of white space and line ends becomes one space."""
    return storable(" ".join(text[: 4 * longest].split()), longest)
