"""Declare which code may run on the schema: in each migration, and in one row for older code; migrate online.

A migration's constant `oldest_code` is the revision of the oldest release that may run on the schema after it: the
previous revision, if it only adds and accepts that release's writes.

A replaced table stays for the previous release. If the new one holds counts, it has a separate progress, so that the
counts of one release do not affect the other. After a rollback the old table lacks the new one's counts; `ava db
recount` corrects it.

The row also holds the digest of the baseline, `schema.sql`. Until 0.1.0 is released, commits change that file under one
revision, and code must not run on the tables of another commit. A released baseline never changes.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).parent.parent / "schema.sql"

_COMMENT_LINE = re.compile(r"^\s*--.*$", re.MULTILINE)
# Only the baseline inserts the row, so a later migration keeps the digest.
_WRITE = """
INSERT INTO schema_compatibility (oldest_revision, baseline_digest) VALUES ('{oldest}', '{digest}')
ON CONFLICT (only_row) DO UPDATE SET oldest_revision = excluded.oldest_revision
"""


def oldest_code(scripts: Any, revision: str) -> str:
    """Return the newest `oldest_code` among the migrations up to a revision."""
    return max(str(script.module.oldest_code) for script in scripts.iterate_revisions(revision, "base"))


def write(*, ctx: Any, heads: Collection[Any], **_: Any) -> None:
    """Write the row. Alembic calls this in the transaction of each migration, after its upgrade or downgrade."""
    oldest = oldest_code(ctx.opts["script"], max(heads))
    ctx.execute(_WRITE.format(oldest=oldest, digest=baseline_digest()))


@functools.cache
def baseline_digest() -> str:
    return digest_of(BASELINE.read_text())


def digest_of(schema: str) -> str:
    """Return the digest of a schema's statements, which ignores comment lines, line breaks and indentation."""
    return hashlib.sha256(" ".join(_COMMENT_LINE.sub("", schema).split()).encode()).hexdigest()


def create_index(name: str, definition: str, *, is_unique: bool = False) -> None:
    """Create an index without blocking writes, as in `create_index("jobs_x", "ON jobs (x)")`.

    Ends the migration's transaction, so it must be the migration's only step. It can be repeated.
    """
    kind = "UNIQUE INDEX" if is_unique else "INDEX"
    _run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", f"CREATE {kind} CONCURRENTLY {name} {definition}")


def drop_index(name: str) -> None:
    """Drop an index without blocking writes; like `create_index`, it must be the migration's only step."""
    _run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _run(*statements: str) -> None:
    # Imported here because every process reads the digest, but few run migrations.
    from alembic import op

    # CONCURRENTLY waits for older transactions, but nothing waits for it, so it needs no lock timeout. If it fails, the
    # next attempt drops the invalid index that it left.
    with op.get_context().autocommit_block():
        for statement in ("SET lock_timeout = 0", *statements, "RESET lock_timeout"):
            op.execute(statement)
