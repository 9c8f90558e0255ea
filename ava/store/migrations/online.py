"""Migration steps that block no writer, however long other transactions last."""

from __future__ import annotations

from alembic import op


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
    # CONCURRENTLY waits for older transactions, but nothing waits for it, so it needs no lock timeout. If it fails, the
    # next attempt drops the invalid index that it left.
    with op.get_context().autocommit_block():
        for statement in ("SET lock_timeout = 0", *statements, "RESET lock_timeout"):
            op.execute(statement)
