"""The release and the build, read by setup.cfg, the API, the nodes and the command line.

Builds of one release differ in their commit. It is the commit of this checkout, or the one that `setup.py` wrote into
this folder. Without either, as in a source archive, it is unknown.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

VERSION = "0.1.0"

#: Number of characters of a commit to show.
_SHOWN = 12
_FOLDER = Path(__file__).parent


@cache
def build() -> str:
    """Return the release with its commit, such as `0.1.0+43c5ae0a1b2c` (PEP 440, Semantic Versioning)."""
    return f"{VERSION}+{found}" if (found := commit()) else VERSION


def commit(folder: Path = _FOLDER) -> str:
    """Return the shortened commit of the package in a folder; empty if unknown."""
    try:
        head = _git_folder(folder.parent / ".git")
        content = _read_head(head) if head else (folder / "commit.txt").read_text()
    except OSError:
        return ""
    return content.strip()[:_SHOWN]


def _git_folder(path: Path) -> Path | None:
    """Return the folder of HEAD; None if there is no checkout. In a worktree `.git` is a file with the path."""
    if path.is_file():
        return path.parent / path.read_text().removeprefix("gitdir:").strip()
    return path if path.is_dir() else None


def _read_head(folder: Path) -> str:
    """Return the commit that is checked out. Does not need Git."""
    head = (folder / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = folder / (folder / "commondir").read_text().strip() if (folder / "commondir").exists() else folder
    for path in (folder / name, common / name):
        if path.exists():
            return path.read_text()
    packed = (line.split(" ") for line in (common / "packed-refs").read_text().splitlines())
    return next((words[0] for words in packed if words[1:] == [name]), "")
