"""Write the table of a run as Markdown, and insert it into a page."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chaos.result import Result

_ROOT = Path(__file__).parent.parent
_HEAD = ("broker", "fault", "accepted", "finished", "lost", "run twice", "repeated", "recovery", "promised", "kept")
_BEGIN, _END = "<!-- The table that `{command}` writes begins here. -->\n", "<!-- It ends here. -->\n"


def row(result: Result) -> str:
    """Return a result as a row of a Markdown table."""
    recovery = "never" if result.recovery_seconds is None else f"{result.recovery_seconds:.1f} s"
    cells = (
        result.broker,
        result.fault,
        result.accepted,
        result.finished,
        f"{result.lost} (and {result.uncommitted} not replicated)" if result.uncommitted else result.lost,
        result.twice,
        result.repeated,
        recovery,
        f"{result.promised_seconds:g} s",
        ("yes" if result.holds else f"NO ({_blame(result)})") + "".join(f"; {each}" for each in result.measured),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _blame(result: Result) -> str:
    counts = {"invented": result.invented, "untrue": result.untrue, "failed": result.failed}
    return ", ".join([*(f"{count} {name}" for name, count in counts.items() if count), *result.broken]) or "see the row"


def table(results: Sequence[Result]) -> str:
    """Return all results as a Markdown table."""
    return "\n".join(["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD), *map(row, results)])


def write(path: Path, results: Sequence[Result], *, command: str) -> None:
    """Replace a command's block in a page by its table, with the commit and the date of the run."""
    before, begin, rest = path.read_text().partition(_BEGIN.format(command=command))
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} has no block of {command} that ends with {_END.strip()}")
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    origin = f"All rows are from one run of commit {_commit()} on {date}, on {os.cpu_count()} cores."
    path.write_text(f"{before}{begin}{origin}\n\n{table(results)}\n{end}{after}")


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(("git", "-C", str(_ROOT), *arguments), check=True, capture_output=True, text=True).stdout

    if not (_ROOT / ".git").exists():
        return "(unknown)"
    is_changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    return f"`{git('rev-parse', '--short=12', 'HEAD').strip()}`" + (" with changes" if is_changed else "")
