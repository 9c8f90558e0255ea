"""Facts about PostgreSQL for `ava doctor`: durability, connections, and privileges of the processes' role."""

from __future__ import annotations

from dataclasses import dataclass

from ava.errors import DatabaseReadOnly, DiskFull
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import Statement
from ava.store.fleet.nodes import IS_LIVE


@dataclass(frozen=True, kw_only=True)
class Durability:
    has_fsync: bool
    #: The value of `synchronous_commit` in the processes' sessions.
    synchronous_commit: str


_READ_DURABILITY = Statement("SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit')")


def read_durability(connection: Connection) -> Durability:
    """Return the durability of the processes' commits."""
    has_fsync, synchronous_commit = connection.exec_driver_sql(_READ_DURABILITY).one()
    return Durability(has_fsync=has_fsync, synchronous_commit=synchronous_commit)


@dataclass(frozen=True, kw_only=True)
class ConnectionLimit:
    #: Such as `max_connections`.
    name: str
    limit: int
    used: int


# Since PostgreSQL 16 two settings reserve connections. -1 means unlimited. For sessions of other roles, an unprivileged
# role sees only the name.
_CONNECTION_LIMITS = Statement("""
SELECT name, max_connections, used FROM (
    SELECT 'max_connections' AS name, current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) AS max_connections,
        (SELECT sum(numbackends) FROM pg_stat_database)::int AS used
    UNION ALL
    SELECT 'CONNECTION LIMIT of the database ' || datname, datconnlimit,
        (SELECT numbackends FROM pg_stat_database WHERE datname = current_database())
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'CONNECTION LIMIT of the role ' || rolname, rolconnlimit,
        (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user)::int
    FROM pg_roles WHERE rolname = current_user
) AS found WHERE max_connections >= 0
""")


def connection_limits(connection: Connection) -> list[ConnectionLimit]:
    """Return the limits of the server, the database and the role, if they are set."""
    rows = connection.exec_driver_sql(_CONNECTION_LIMITS)
    return [ConnectionLimit(name=name, limit=limit, used=used) for name, limit, used in rows]


@dataclass(frozen=True, kw_only=True)
class NodeProcesses:
    """The processes of live nodes that have connections."""

    #: A node with slots has one row for its pool and one per slot process.
    nodes: int
    pool_processes: int
    #: Each has the same number of connections, however many slots it has.
    slot_processes: int


_NODE_PROCESSES = Statement(f"""
SELECT count(*), coalesce(sum(n.processes) FILTER (WHERE NOT n.has_slots), 0), count(*) FILTER (WHERE n.has_slots)
FROM nodes AS n WHERE {IS_LIVE}
""")


def node_processes(connection: Connection, *, dead_after_seconds: float) -> NodeProcesses:
    row = connection.exec_driver_sql(_NODE_PROCESSES, {"dead_after": dead_after_seconds}).one()
    return NodeProcesses(nodes=row[0], pool_processes=int(row[1]), slot_processes=row[2])


# A privilege on a table includes its partitions. Only migrations write the schema's own tables.
_MISSING_RIGHTS = Statement("""
SELECT wanted.privilege || ' on ' || c.relname
FROM pg_class AS c CROSS JOIN LATERAL unnest(CASE
    WHEN c.relkind = 'S' THEN ARRAY['USAGE']
    WHEN c.relname IN ('alembic_version', 'schema_compatibility') THEN ARRAY['SELECT']
    ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END) AS wanted (privilege)
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition
    AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, wanted.privilege)
                           ELSE has_table_privilege(c.oid, wanted.privilege) END
ORDER BY c.relname, wanted.privilege LIMIT %(limit)s
""")


def missing_rights(connection: Connection, *, limit: int) -> list[str]:
    """Return privileges that the session's role lacks and the processes need, such as `INSERT on jobs`."""
    return list(connection.exec_driver_sql(_MISSING_RIGHTS, {"limit": limit}).scalars())


# One transaction, with a `work_mem` that is too small for the rows.
_WRITE_MIB = Statement("""SELECT set_config('work_mem', '64kB', true);
SELECT count(*) FROM unnest(array_fill(repeat('x', 8192), ARRAY[128])) AS lines (line)
""")


def require_disk_space(database: Database) -> None:
    """Write a temporary file of 1 MiB. Raises `DiskFull`, or `DatabaseUnavailable` if the database is unreachable."""
    with database.connect() as connection:
        connection.exec_driver_sql(_WRITE_MIB)


def is_disk_full(database: Database) -> bool:
    """Return True if the disk is full. Raises `DatabaseUnavailable`."""
    try:
        require_disk_space(database)
    except DiskFull:
        return True
    return False


_READ_ONLY_CAUSE = Statement("""
SELECT CASE WHEN pg_is_in_recovery() THEN 'it is a standby'
            WHEN current_setting('transaction_read_only') = 'on' THEN 'default_transaction_read_only is on' END
""")


def read_only_cause(connection: Connection) -> str | None:
    """Return why the database refuses writes; None if it accepts them."""
    cause: str | None = connection.exec_driver_sql(_READ_ONLY_CAUSE).scalar_one()
    return cause


def require_writes(database: Database) -> None:
    """Raise `DatabaseReadOnly` if the database refuses writes, `DatabaseUnavailable` if it is unreachable."""
    with database.connect() as connection:
        if read_only_cause(connection):
            raise DatabaseReadOnly
