"""Texts from handlers and clients, made fit to be stored, and fit to be shown on a terminal."""

from __future__ import annotations

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


def printable(text: str, *, kept: str = "") -> str:
    """Returns a text with every character escaped that is not printed as itself, except those in `kept`.

    These are controls (C0 and C1, which begin the sequences that move a cursor or set a title), formats such as
    bidirectional overrides, line separators, lone surrogates and unassigned characters.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text)
