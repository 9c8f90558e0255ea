"""Other releases of this code: newer ones, with migrations that a test or a fault adds, and commits of its history."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from alembic.script import ScriptDirectory

import ava.store
from ava.store.engine import schema
from ava.store.migrations import compatibility

__all__ = [
    "ADD_COLUMN",
    "CREATE_INDEX",
    "DROP_COLUMN",
    "DROP_INDEX",
    "oldest_release",
    "write_commit",
    "write_release",
]

_ROOT = Path(__file__).parent.parent
_MIGRATIONS = Path(ava.store.__file__).parent / "migrations"

_TEXT = """
from alembic import op
from ava.store.migrations import online

revision, down_revision = "{revision}", "{before}"
branch_labels = depends_on = None
oldest_code = "{oldest_code}"


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
"""

ADD_COLUMN = 'op.execute("ALTER TABLE jobs ADD COLUMN added text")'
DROP_COLUMN = 'op.execute("ALTER TABLE jobs DROP COLUMN added")'
CREATE_INDEX = 'online.create_index("jobs_added", "ON jobs (worker_id)")'
DROP_INDEX = 'online.drop_index("jobs_added")'


def write_release(folder: Path, *migrations: tuple[str, str, str]) -> None:
    """Write the migrations of a newer release into a new folder, which replaces `schema._MIGRATIONS`.

    Each one more is the code of its `upgrade` and its `downgrade`, and its `oldest_code`.
    """
    shutil.copytree(_MIGRATIONS, folder)
    versions = folder / "versions"
    before = max(path.name[1:5] for path in versions.glob("r*.py"))
    for upgrade, downgrade, oldest_code in migrations:
        revision = f"{int(before) + 1:04}"
        names = {"revision": revision, "before": before, "oldest_code": oldest_code}
        (versions / f"r{revision}_new.py").write_text(_TEXT.format(**names, upgrade=upgrade, downgrade=downgrade))
        before = revision


def oldest_release() -> str | None:
    """Returns the oldest commit whose code may run on this schema: the one that brought the revision which it names.

    None if this is no repository, or if its history does not go back so far.
    """
    revision = compatibility.oldest_code(ScriptDirectory(str(_MIGRATIONS)), schema.revisions()[-1])
    [path] = (_MIGRATIONS / "versions").glob(f"r{revision}_*.py")
    try:
        commits = _git("log", "--diff-filter=A", "--format=%H", "--", str(path)).decode().split()
        # A shallow history begins with a commit that seems to add everything.
        return commits[-1] if commits and _git("rev-parse", f"{commits[-1]}^") else None
    except (OSError, subprocess.CalledProcessError):
        return None


def write_commit(folder: Path, commit: str) -> None:
    """Write the files of a commit into a new folder."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        archive.extractall(folder, filter="data")


def _git(*arguments: str) -> bytes:
    return subprocess.run(("git", "-C", str(_ROOT), *arguments), check=True, capture_output=True).stdout
