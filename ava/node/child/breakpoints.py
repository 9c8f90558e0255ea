"""Breakpoints in a handler of a node, whose processes have no terminal: the job fails with a sentence that says so."""

from __future__ import annotations

import os
import sys
from typing import Any

_SENTENCE = (
    "a node has no terminal for a debugger; call the handler with ava.testing.run, or name a debugger that listens "
    "on a port in PYTHONBREAKPOINT"
)


def refuse() -> None:
    """Have `breakpoint()` raise `RuntimeError` in this process, unless PYTHONBREAKPOINT names what it is to do.

    It may be `0`, which does nothing, or a debugger that needs no terminal.
    """
    if os.environ.get("PYTHONBREAKPOINT", "") in ("", "pdb.set_trace"):
        sys.breakpointhook = _raise


def _raise(*_arguments: Any, **_options: Any) -> None:
    raise RuntimeError(_SENTENCE)


def explained(error: BaseException | None) -> BaseException | None:
    """Returns what a handler raised; in place of a debugger's end, for lack of a terminal, an error that says so."""
    # By its name, because the import of `bdb` costs each process.
    if type(error).__name__ != "BdbQuit":
        return error
    return RuntimeError(_SENTENCE).with_traceback(error.__traceback__)  # type: ignore[union-attr]
