"""The tracebacks in what a process has printed."""

from __future__ import annotations

import re


def tracebacks(output: str, *, without: str) -> list[str]:
    """Returns the tracebacks in an output, apart from those whose last file begins with `without`."""
    blocks = re.findall(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*", output)
    return [block for block in blocks if f'"{without}' not in block.rpartition("  File ")[2]]
