"""The texts of triggers and functions, which migrations create from the files in `sql/`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read"]

_FOLDER = Path(__file__).parent / "sql"


def read(name: str) -> str:
    """Returns the text of `sql/<name>.sql`."""
    return (_FOLDER / f"{name}.sql").read_text()
