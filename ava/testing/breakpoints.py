"""Breakpoints in a handler that `ava.testing.run` calls: the debugger gets the terminal.

Python raises an audit event before a debugger opens its streams, so no frame of this package is between the debugger
and the handler. An audit hook cannot be removed; outside of a run it does nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

_EVENTS = ("builtins.breakpoint", "pdb.Pdb")


class _Hook:
    """The process's audit hook."""

    def __init__(self) -> None:
        self.is_installed = False
        #: Called at a breakpoint; None outside of a run.
        self.on_breakpoint: Callable[[], None] | None = None

    def notice(self, event: str, _arguments: tuple[Any, ...]) -> None:
        """Handle an audit event."""
        is_off = os.environ.get("PYTHONBREAKPOINT") == "0"
        if self.on_breakpoint is not None and event in _EVENTS and not is_off:
            self.on_breakpoint()


_hook = _Hook()


@contextmanager
def given_to_debuggers(
    streams: Mapping[str, tuple[object, TextIO]], on_breakpoint: Callable[[], None]
) -> Iterator[None]:
    """At a breakpoint, restore streams of `sys` and call `on_breakpoint`.

    `streams`: by name, the capturing stream and its replacement. Streams that another program, such as pytest, has
    replaced stay.
    """

    def give() -> None:
        for name, (capturing, own) in streams.items():
            if getattr(sys, name) is capturing:
                setattr(sys, name, own)
        _redirect_debugger(*streams["stdout"])
        on_breakpoint()

    if not _hook.is_installed:
        _hook.is_installed = True
        sys.addaudithook(_hook.notice)
    before, _hook.on_breakpoint = _hook.on_breakpoint, give
    try:
        yield
    finally:
        _hook.on_breakpoint = before


def _redirect_debugger(capturing: object, own: TextIO) -> None:
    """Redirect a `pdb.Pdb`, created without `breakpoint()`, from the capturing stream to the terminal."""
    # The frame that raised the audit event.
    debugger = sys._getframe(3).f_locals.get("self")
    if getattr(debugger, "stdout", None) is capturing:
        debugger.stdout = own  # type: ignore[union-attr]
