"""The terminal: its width, texts cut to it, local times, and the one line that is redrawn in place."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType

import click

from ava.domain.text import printable

#: The width of an output that is no terminal.
_UNBOUNDED = 100_000
_BAR_CHARACTERS = 30


def is_terminal() -> bool:
    """Returns True if the output is a terminal."""
    return sys.stdout.isatty()


def terminal_width() -> int:
    """Returns the width of the terminal in columns, or one that is never reached if the output is no terminal."""
    return shutil.get_terminal_size((80, 24)).columns if is_terminal() else _UNBOUNDED


def width_of(text: str) -> int:
    """Returns the width of a printable text in columns of the terminal."""
    if text.isascii():
        return len(text)
    # Imported here, because its tables take longer to load than most commands need.
    from wcwidth import wcswidth

    return int(wcswidth(text))


def cut(text: str, width: int) -> str:
    """Returns a text cut to a width in columns of the terminal, ending in … if it was longer."""
    if width_of(text) <= width:
        return text
    if text.isascii():
        return f"{text[: width - 1]}…"
    taken = ""
    for char in text:
        # A character may be wider behind another one than alone.
        if width_of(taken + char) > width - 1:
            break
        taken += char
    return f"{taken}…"


def local_time(moment: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Returns a moment in the local time zone; one without a zone is a schedule's own local time and stays."""
    return moment.strftime("%Y-%m-%d %H:%M") if moment.tzinfo is None else moment.astimezone().strftime(form)


def zone_name(moment: datetime | None = None) -> str:
    """Returns the name of the local time zone at a moment, now by default."""
    return (moment or datetime.now()).astimezone().tzname() or ""


class Screen:
    """A screen of its own, which is redrawn; what the terminal showed before is shown again at the end."""

    def __enter__(self) -> Screen:
        click.echo("\x1b[?1049h\x1b[?25l", nl=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw as many of the lines as the terminal has."""
        height = shutil.get_terminal_size((80, 24)).lines
        shown = "".join(f"{line}\x1b[K\r\n" for line in lines[: height - 1])
        click.echo(f"\x1b[H{shown}\x1b[J", nl=False)
        sys.stdout.flush()


class StatusLine:
    """One line below what is printed: it is redrawn in place, and erased however the command ends.

    It is drawn on a terminal alone.
    """

    def __init__(self) -> None:
        self._is_shown = False
        self._text = ""

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.erase()

    def set_text(self, text: str) -> None:
        """Draw a text; a longer one than the terminal's width is cut, because a second line could not be erased."""
        self._text = printable(text)
        self.draw()

    def set_progress(self, fraction: float, message: str | None) -> None:
        """Draw a bar with a percentage and a message."""
        filled = round(max(0.0, min(1.0, fraction)) * _BAR_CHARACTERS)
        bar = "#" * filled + "." * (_BAR_CHARACTERS - filled)
        self.set_text(f"[{bar}] {fraction:4.0%} {message or ''}".rstrip())

    def draw(self) -> None:
        """Draw the last text again, after something was printed."""
        self.erase()
        if self._text and is_terminal():
            click.echo(cut(self._text, terminal_width() - 1), nl=False)
            sys.stdout.flush()
            self._is_shown = True

    def erase(self) -> None:
        """Erase the line, before something is printed."""
        if self._is_shown:
            click.echo("\r\x1b[2K", nl=False)
            self._is_shown = False
