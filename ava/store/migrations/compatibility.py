"""Which code may run on the schema: each migration declares it, and one row of the database tells older code.

A migration has a constant `oldest_code`: the revision of the oldest release that may run on the schema after it. For a
migration that only adds, and accepts what the release before writes, this is the revision before it.

A table that another replaces stays for the release before. If the new one holds counts, it has a progress of its own,
so that what either release has counted changes nothing for the other. After a roll-back the old table
lacks what was counted for the new one, and `ava db recount` puts it right.

The row also holds the digest of the baseline, `schema.sql`, from which the database was created. Until 0.1.0 is
released, commits change that file under one revision, and code must not run on the tables of another commit. A
released baseline never changes, so the digest then tells no two releases apart.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

#: The text of the first migration.
BASELINE = Path(__file__).parent.parent / "schema.sql"

_COMMENT_LINE = re.compile(r"^\s*--.*$", re.MULTILINE)
# Only the baseline inserts the row, so a later migration keeps the digest.
_WRITE = """
INSERT INTO schema_compatibility (oldest_revision, baseline_digest) VALUES ('{oldest}', '{digest}')
ON CONFLICT (only_row) DO UPDATE SET oldest_revision = excluded.oldest_revision
"""


def oldest_code(scripts: Any, revision: str) -> str:
    """Returns what the migrations up to a revision allow together: the newest of their constants."""
    return max(str(script.module.oldest_code) for script in scripts.iterate_revisions(revision, "base"))


def write(*, ctx: Any, heads: Collection[Any], **_: Any) -> None:
    """Write the row. Alembic calls this in the transaction of each migration, after its upgrade or downgrade."""
    oldest = oldest_code(ctx.opts["script"], max(heads))
    ctx.execute(_WRITE.format(oldest=oldest, digest=baseline_digest()))


@functools.cache
def baseline_digest() -> str:
    """Return the digest of this code's `schema.sql`."""
    return digest_of(BASELINE.read_text())


def digest_of(schema: str) -> str:
    """Return the digest of a schema's statements. Lines of comment, line breaks and indentation do not count."""
    return hashlib.sha256(" ".join(_COMMENT_LINE.sub("", schema).split()).encode()).hexdigest()
