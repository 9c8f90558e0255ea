"""Texts from outside, made fit to be stored: whatever a handler raised, logged or printed."""

from __future__ import annotations

__all__ = ["LONGEST_ERROR", "LONGEST_LINE", "one_line", "storable"]

#: Characters of a log line; the rest is cut and said to be.
LONGEST_LINE = 16_384
#: Characters of a job's `error`.
LONGEST_ERROR = 1_000


def storable(text: str, longest: int = LONGEST_LINE) -> str:
    """Cut a text to a length, and write out what PostgreSQL's text cannot hold: NUL and lone surrogates."""
    if len(text) > longest:
        text = f"{text[:longest]}… ({len(text)} characters, cut)"
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def one_line(text: str, longest: int = LONGEST_ERROR) -> str:
    """A text as a single line: runs of white space and line ends become one space."""
    return storable(" ".join(text[: 4 * longest].split()), longest)
