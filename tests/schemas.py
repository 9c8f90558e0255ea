"""The schema of a database, read from PostgreSQL's catalogs, and its removal."""

from __future__ import annotations

from sqlalchemy import Engine

#: The bounds of partitions are left out, because they are ids of the day of the migration.
_STATEMENTS = (
    "SELECT proname, pg_get_functiondef(oid), proacl::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT relname, relkind::text, reloptions, relpartbound IS NULL FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace",
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0"
    " LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE c.relnamespace = 'public'::regnamespace",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index"
    " WHERE (SELECT relnamespace FROM pg_class WHERE oid = indrelid) = 'public'::regnamespace",
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
)


def definitions(engine: Engine) -> list[str]:
    """Returns the functions, tables, columns, constraints, indexes and triggers of a database."""
    with engine.connect() as connection:
        return [
            definition
            for each in _STATEMENTS
            for definition in sorted(str(tuple(row)) for row in connection.exec_driver_sql(each))
        ]


def empty(engine: Engine) -> None:
    """Remove everything from a database."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
