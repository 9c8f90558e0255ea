"""Functions that run as their owner, because the role of the processes owns no table."""

from __future__ import annotations

from collections.abc import Mapping

from alembic import op

from ava.store.migrations import sql_files

__all__ = ["create", "drop"]

# Their owner finds no table of another schema, nor a temporary one, in place of ours.
_SECURE = """
DO $$ BEGIN
    EXECUTE 'ALTER FUNCTION {function} SET search_path = ' || quote_ident(current_schema()) || ', pg_temp';
    REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC;
END $$
"""


def create(revision: str, functions: Mapping[str, str]) -> None:
    """Create the functions, given by name with their argument types, from `sql/<revision>_<name without ava_>.sql`."""
    for name, arguments in functions.items():
        op.execute(sql_files.read(f"{revision}_{name.removeprefix('ava_')}"))
        op.execute(_SECURE.format(function=f"{name}({arguments})"))


def drop(functions: Mapping[str, str]) -> None:
    """Drop the functions."""
    for name, arguments in functions.items():
        op.execute(f"DROP FUNCTION {name}({arguments})")
