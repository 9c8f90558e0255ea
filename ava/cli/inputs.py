"""The input of a job on the command line: JSON, a file, or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["read_input"]


def read_input(text: str) -> dict[str, Any]:
    """Returns the object that `--input` means: JSON, `@FILE`, or `-`. Raises `click.BadParameter` if it is none."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as problem:
            raise click.BadParameter(f"{text[1:]} cannot be read: {problem.strerror}.", param_hint="--input") from None
    try:
        value = json.loads(text)
    except ValueError as problem:
        raise click.BadParameter(f"it is not JSON: {problem}.", param_hint="--input") from None
    if not isinstance(value, dict):
        raise click.BadParameter("it must be a JSON object.", param_hint="--input")
    return value
