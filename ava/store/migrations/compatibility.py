"""Which code may run on the schema: each migration declares it, and one row of the database says it to older code.

A migration has a constant `oldest_code`: the revision of the oldest release that may run on the schema after it. For a
migration that only adds, and accepts what the release before writes, this is the revision before it.

A table that another replaces stays for the release before. If the new one holds counts, it has a progress of its own,
so that what either release has counted changes nothing for the other. After a roll-back the old table
lacks what was counted for the new one, and `ava db recount` puts it right.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_WRITE = """
INSERT INTO schema_compatibility (oldest_revision) VALUES ('{oldest}')
ON CONFLICT (only_row) DO UPDATE SET oldest_revision = excluded.oldest_revision
"""


def oldest_code(scripts: Any, revision: str) -> str:
    """Returns what the migrations up to a revision allow together: the newest of their constants."""
    return max(str(script.module.oldest_code) for script in scripts.iterate_revisions(revision, "base"))


def write(*, ctx: Any, heads: Collection[Any], **_: Any) -> None:
    """Write the row. Alembic calls this in the transaction of each migration, after its upgrade or downgrade."""
    ctx.execute(_WRITE.format(oldest=oldest_code(ctx.opts["script"], max(heads))))
