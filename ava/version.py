"""The release and the build, read by setup.cfg, the API, the nodes and the command line.

Two builds of one release differ in their commit. It is that of the checkout in which this file is, or the one that
`setup.py` has written beside this file. Without either, as in an archive of the source, nothing is known of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

VERSION = "0.1.0"

#: Characters of a commit that are shown.
_SHOWN = 12
_FOLDER = Path(__file__).parent


@cache
def build() -> str:
    """Returns the release with its commit, as in `0.1.0+43c5ae0a1b2c` (PEP 440, Semantic Versioning)."""
    return f"{VERSION}+{found}" if (found := commit()) else VERSION


def commit(folder: Path = _FOLDER) -> str:
    """Returns the commit of the package in a folder, shortened; empty if it is not known."""
    try:
        head = _git_folder(folder.parent / ".git")
        text = _read_head(head) if head else (folder / "commit.txt").read_text()
    except OSError:
        return ""
    return text.strip()[:_SHOWN]


def _git_folder(place: Path) -> Path | None:
    """Returns the folder of HEAD; None if there is no checkout. In a worktree `.git` is a file that names it."""
    if place.is_file():
        return place.parent / place.read_text().removeprefix("gitdir:").strip()
    return place if place.is_dir() else None


def _read_head(folder: Path) -> str:
    """Returns the commit that is checked out. Git need not be installed."""
    head = (folder / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = folder / (folder / "commondir").read_text().strip() if (folder / "commondir").exists() else folder
    for place in (folder / name, common / name):
        if place.exists():
            return place.read_text()
    packed = (line.split(" ") for line in (common / "packed-refs").read_text().splitlines())
    return next((words[0] for words in packed if words[1:] == [name]), "")
