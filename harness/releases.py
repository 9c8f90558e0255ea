"""Newer releases of this code, with made-up migrations: until there is a real one, they stand for those to come."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import ava.store

_ROOT = Path(__file__).parent.parent
_MIGRATIONS = Path(ava.store.__file__).parent / "migrations"

_MIGRATION = """
from alembic import op
from ava.store.migrations import compatibility

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
CREATE_INDEX = 'compatibility.create_index("jobs_added", "ON jobs (worker_id)")'
DROP_INDEX = 'compatibility.drop_index("jobs_added")'


def write_release(folder: Path, *migrations: tuple[str, str, str]) -> None:
    """Write the migrations of a newer release into a new folder, which replaces `schema._MIGRATIONS`.

    Each one more is the code of its `upgrade` and its `downgrade`, and its `oldest_code`.
    """
    shutil.copytree(_MIGRATIONS, folder)
    _add(folder, migrations)


def write_code(folder: Path, *migrations: tuple[str, str, str]) -> None:
    """Write the code of a newer release into a new folder: this code with these migrations, as in `write_release`."""
    for package in ("ava", "chaos", "harness", "workers"):
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    _add(folder / "ava" / "store" / "migrations", migrations)


def _add(folder: Path, migrations: Sequence[tuple[str, str, str]]) -> None:
    versions = folder / "versions"
    before = max(path.name[1:5] for path in versions.glob("r*.py"))
    for upgrade, downgrade, oldest_code in migrations:
        revision = f"{int(before) + 1:04}"
        names = {"revision": revision, "before": before, "oldest_code": oldest_code}
        (versions / f"r{revision}_new.py").write_text(_MIGRATION.format(**names, upgrade=upgrade, downgrade=downgrade))
        before = revision
