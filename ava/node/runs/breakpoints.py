"""Refuse breakpoints in handlers: a node's processes have no terminal, so the job fails with an explanation."""

from __future__ import annotations

import os
import sys
from typing import Any

_SENTENCE = (
    "a node has no terminal for a debugger; call the handler with ava.testing.run, or name a debugger that listens "
    "on a port in PYTHONBREAKPOINT"
)


def refuse() -> None:
    """Make `breakpoint()` raise `RuntimeError`, unless PYTHONBREAKPOINT is set.

    It may be `0`, which does nothing, or name a debugger that needs no terminal.
    """
    if os.environ.get("PYTHONBREAKPOINT", "") in ("", "pdb.set_trace"):
        sys.breakpointhook = _raise


def _raise(*_arguments: Any, **_options: Any) -> None:
    raise RuntimeError(_SENTENCE)


def explained(error: BaseException | None) -> BaseException | None:
    """Return the handler's exception, or an explanation if a debugger ended for lack of a terminal."""
    # By name, because importing `bdb` would cost time in each process.
    if type(error).__name__ != "BdbQuit":
        return error
    return RuntimeError(_SENTENCE).with_traceback(error.__traceback__)  # type: ignore[union-attr]
