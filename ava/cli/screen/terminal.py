"""The terminal: its width, strings cut to it, local times, questions, and the status line that is redrawn in place."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

import click

from ava.domain.strings import printable

#: The width, in columns, of an output that is no terminal.
_UNBOUNDED = 100_000
_BAR_CHARACTERS = 30


def is_terminal() -> bool:
    return sys.stdout.isatty()


yes_option: Callable[..., Any] = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, yes: bool, instead: str = "") -> None:
    """Ask the user unless `yes`. Aborts the command if the user refuses.

    Raises `UsageError` if standard input is no terminal; `instead` names another option than --yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"Standard input is no terminal, so the command cannot ask for confirmation: give --yes{instead}."
        )
    click.confirm(printable(question), abort=True, err=True)


def terminal_width() -> int:
    """Return the terminal's width in columns, or an unreachable one if the output is no terminal."""
    return shutil.get_terminal_size((80, 24)).columns if is_terminal() else _UNBOUNDED


def width_of(string: str) -> int:
    """Return the width of a printable string in terminal columns."""
    if string.isascii():
        return len(string)
    # Imported here, because its tables take longer to load than most commands need.
    from wcwidth import wcswidth

    return int(wcswidth(string))


def cut(string: str, width: int) -> str:
    """Return a string cut to a width in terminal columns, with a final … if it was longer."""
    if width_of(string) <= width:
        return string
    if string.isascii():
        return f"{string[: width - 1]}…"
    taken = ""
    for char in string:
        # A character may be wider after another one than on its own.
        if width_of(taken + char) > width - 1:
            break
        taken += char
    return f"{taken}…"


def local_time(timestamp: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a time in the local time zone; a time without a zone is a schedule's local time and stays unchanged."""
    return timestamp.strftime("%Y-%m-%d %H:%M") if timestamp.tzinfo is None else timestamp.astimezone().strftime(form)


def zone_name(timestamp: datetime | None = None) -> str:
    """Return the name of the local time zone at a time, by default now."""
    return (timestamp or datetime.now()).astimezone().tzname() or ""


class Screen:
    """The terminal's alternate screen, which is redrawn; the previous content returns at the end."""

    def __enter__(self) -> Screen:
        click.echo("\x1b[?1049h\x1b[?25l", nl=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the lines that fit on the terminal."""
        height = shutil.get_terminal_size((80, 24)).lines
        shown = "".join(f"{line}\x1b[K\r\n" for line in lines[: height - 1])
        click.echo(f"\x1b[H{shown}\x1b[J", nl=False)
        sys.stdout.flush()


class StatusLine:
    """A line below the output: it is redrawn in place, and erased however the command ends.

    It is drawn only on a terminal.
    """

    def __init__(self) -> None:
        self._is_shown = False
        self._message = ""

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.erase()

    def set_message(self, string: str) -> None:
        """Draw a string, cut to the terminal's width, because a second line could not be erased."""
        self._message = printable(string)
        self.draw()

    def set_progress(self, fraction: float, message: str | None) -> None:
        filled = round(max(0.0, min(1.0, fraction)) * _BAR_CHARACTERS)
        bar = "#" * filled + "." * (_BAR_CHARACTERS - filled)
        self.set_message(f"[{bar}] {fraction:4.0%} {message or ''}".rstrip())

    def draw(self) -> None:
        """Draw the last string again, after other output."""
        self.erase()
        if self._message and is_terminal():
            click.echo(cut(self._message, terminal_width() - 1), nl=False)
            sys.stdout.flush()
            self._is_shown = True

    def erase(self) -> None:
        """Erase the line, before other output."""
        if self._is_shown:
            click.echo("\r\x1b[2K", nl=False)
            self._is_shown = False
