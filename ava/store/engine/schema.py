"""The database schema: upgrade, downgrade, and the check that this code may run on it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from ava.errors import (
    DatabaseAhead,
    DatabaseNotMigrated,
    DatabaseUnreachable,
    DatabaseUnreleased,
    NoDowngrade,
    SchemaLocked,
    StartError,
)
from ava.settings import Settings
from ava.store.engine import failures, roles, server_version, session_settings
from ava.store.engine.database import driver_url
from ava.store.engine.statement import Statement
from ava.store.migrations import compatibility

if TYPE_CHECKING:
    from alembic.config import Config

_log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent.parent / "migrations"
_FILE = re.compile(r"r(\d+)_\w+\.py")

#: Key of the advisory lock for schema changes: "ava db" as a number.
_LOCK_KEY = 0x61766120_6462
_LOCK_SECONDS = 0.2
#: Lock timeout of a migration in milliseconds; later statements on the table, even reads, wait as long. Longer than
#: PostgreSQL's deadlock_timeout (1 s), after which an autovacuum gives way.
_LOCK_TIMEOUT_MS = 1_200
#: First and max seconds until a migration retries for a lock; statements that waited for it run in between.
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0
#: Seconds after which a migration that got no lock fails.
_MAX_SECONDS = 600.0
#: SQLSTATEs of a lock timeout and of a deadlock victim (PostgreSQL manual, appendix A).
_LOCKED = ("55P03", "40P01")

#: Parts of the errors with which PgBouncer and RDS Proxy refuse the options of a connection.
_REFUSED_OPTIONS = ("unsupported startup parameter", "command-line options")

_TRY_LOCK = Statement("SELECT pg_try_advisory_lock(%(key)s)")
_TABLE = Statement("SELECT to_regclass(%(name)s)")
_REVISION = Statement("SELECT version_num FROM alembic_version")
# The schemas of some commits before 0.1.0 lack the digest column.
_COMPATIBILITY = Statement("SELECT oldest_revision, to_jsonb(c) ->> 'baseline_digest' FROM schema_compatibility AS c")
_OLDEST_TRANSACTION = Statement("""
SELECT pid, application_name, extract(epoch FROM now() - xact_start)::int FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1
""")


@dataclass(frozen=True, kw_only=True)
class State:
    """The schema of a database, compared with this release's."""

    #: None if it was never migrated.
    revision: str | None
    #: The newest revision that code must know to run on the schema; None if it was never migrated.
    oldest_code: str | None
    #: The digest of the `schema.sql` that created the database, if recorded.
    baseline_digest: str | None

    @property
    def is_ahead(self) -> bool:
        return self.revision is not None and self.revision > revisions()[-1]

    @property
    def pending(self) -> list[str]:
        return [revision for revision in revisions() if self.revision is None or revision > self.revision]

    def check(self) -> None:
        """Check that this code may run on the schema. Raises `DatabaseNotMigrated`, or like `check_can_upgrade`."""
        self.check_can_upgrade()
        if self.pending:
            raise DatabaseNotMigrated

    def check_can_upgrade(self) -> None:
        """Raise `DatabaseUnreleased` or `DatabaseAhead` if this code's migrations cannot start at the schema."""
        if self.is_ahead and (self.oldest_code is None or self.oldest_code > revisions()[-1]):
            raise DatabaseAhead
        if self.revision is not None and self.baseline_digest != compatibility.baseline_digest():
            raise DatabaseUnreleased


def state(settings: Settings) -> State:
    """Return the state of the schema. Raises `StartError` if the database is unreachable."""
    with _connection(settings) as connection:
        return _state(connection)


def check(settings: Settings) -> None:
    """Check that this code may run on the schema: its release's, or a newer one that allows it.

    Raises `DatabaseNotMigrated`, `DatabaseUnreleased`, `DatabaseAhead`, or `StartError` if the database is unreachable.
    """
    with _connection(settings, as_owner=False) as connection:
        check_connection(connection)


def check_connection(connection: Connection) -> None:
    """Do the same check on an open connection. Raises the same errors."""
    _state(connection).check()


def upgrade(settings: Settings) -> State:
    """Upgrade the schema to this release, one transaction per migration. Returns its state.

    With DATABASE_OWNER_URL, the role of DATABASE_URL gets only the processes' privileges. With DATABASE_POOL_URL, it
    gets default session settings.

    Concurrent upgrades are serialized. A newer schema on which this code may run stays unchanged.

    Raises `DatabaseUnreleased`, `DatabaseAhead`, `SchemaLocked`, or `StartError` if the database is unreachable, or
    reachable only through a pooler.
    """
    with _turn(settings), _connection(settings) as connection:
        before = _state(connection)
        before.check_can_upgrade()
        if before.pending:
            command = _upgrade_command(alembic_config(connection))
            for revision in before.pending:
                _migrate(connection, f"Migration {revision}", command, revision)
        if settings.database_owner_url:
            roles.grant_to_processes(connection, settings)
        if settings.database_pool_url:
            with _connection(settings, as_owner=False) as of_processes:
                session_settings.set_role_defaults(of_processes)
        return _state(connection)


def downgrade(settings: Settings) -> State:
    """Undo the newest migration. Returns the state of the schema.

    Raises `NoDowngrade`, `DatabaseAhead` if only a newer release can do it, or like `upgrade`.
    """
    from alembic import command

    with _turn(settings), _connection(settings) as connection:
        current = _state(connection)
        if current.is_ahead:
            raise DatabaseAhead
        current.check_can_upgrade()
        if current.revision in (None, revisions()[0]):
            raise NoDowngrade
        before = revisions()[revisions().index(str(current.revision)) - 1]
        _migrate(connection, f"Downgrade of migration {current.revision}", command.downgrade, before)
        return _state(connection)


def upgrade_sql(settings: Settings) -> str:
    """Return the SQL of the pending migrations without running it. Raises like `upgrade`."""
    from alembic import command

    with _connection(settings) as connection:
        current = _state(connection)
        current.check_can_upgrade()
        if not current.pending:
            return ""
        output = StringIO()
        config = alembic_config(connection, output=output)
        newest = current.pending[-1]
        command.upgrade(config, f"{current.revision}:{newest}" if current.revision else newest, sql=True)
    return f"SET lock_timeout = {_LOCK_TIMEOUT_MS};\n\n{output.getvalue()}"


def alembic_config(connection: Connection, *, output: StringIO | None = None) -> Config:
    """Return Alembic's configuration for our migrations; `output` receives SQL that is not run."""
    from alembic.config import Config

    config = Config() if output is None else Config(output_buffer=output)
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Return the revisions of this release, oldest first, from the names of the migration files."""
    return sorted(found[1] for path in (_MIGRATIONS / "versions").iterdir() if (found := _FILE.fullmatch(path.name)))


def _upgrade_command(config: Config) -> Callable[[Config, str], None]:
    """Return a variant of Alembic's `command.upgrade` that reads the migration files once, not once per migration."""
    # Imported here because every process checks the schema, but few upgrade it.
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(config)

    def upgrade(config: Config, revision: str) -> None:
        def steps(current: Any, _context: Any) -> Any:
            return script._upgrade_revs(revision, current)

        with EnvironmentContext(config, script, fn=steps, destination_rev=revision):
            script.run_env()

    return upgrade


def _migrate(connection: Connection, name: str, command: Callable[[Config, str], None], revision: str) -> None:
    deadline, pause = time.monotonic() + _MAX_SECONDS, _PAUSE_SECONDS
    while True:
        # Alembic begins its own transactions.
        connection.rollback()
        try:
            command(alembic_config(connection), revision)
        except SQLAlchemyError as error:
            if connection.invalidated:
                raise StartError(f"{name}: the connection to the database was lost; run this again.") from error
            if not isinstance(error, DBAPIError) or getattr(error.orig, "pgcode", None) not in _LOCKED:
                raise
            connection.rollback()
            if time.monotonic() + pause > deadline:
                raise SchemaLocked from error
            fields = {"retry_in_seconds": pause, **_oldest_transaction(connection)}
            _log.warning("%s: a lock that it needs is not free, will retry", name, extra=fields)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return


def _oldest_transaction(connection: Connection) -> dict[str, object]:
    """Return the session that probably holds the lock, as fields of a log line."""
    row = connection.exec_driver_sql(_OLDEST_TRANSACTION).first()
    return {} if row is None else {"oldest_pid": row[0], "oldest_application": row[1], "oldest_seconds": row[2]}


def _state(connection: Connection) -> State:
    def has(table: str) -> bool:
        return connection.exec_driver_sql(_TABLE, {"name": table}).scalar() is not None

    revision = connection.exec_driver_sql(_REVISION).scalar() if has("alembic_version") else None
    row = connection.exec_driver_sql(_COMPATIBILITY).first() if has("schema_compatibility") else None
    oldest_code, digest = row or (None, None)
    return State(revision=revision, oldest_code=oldest_code, baseline_digest=digest)


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """Hold the lock for schema changes. It belongs to the session, so a crash releases it.

    The session has no open transaction and does not wait for the lock inside a statement: CREATE INDEX CONCURRENTLY
    would wait for both.
    """
    with _connection(settings, needs_session=True) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        while not connection.exec_driver_sql(_TRY_LOCK, {"key": _LOCK_KEY}).scalar():
            time.sleep(_LOCK_SECONDS)
        yield


@contextmanager
def _connection(settings: Settings, *, as_owner: bool = True, needs_session: bool = False) -> Iterator[Connection]:
    """Connect to the database. `needs_session`: not through a pooler, which may switch sessions per transaction."""
    is_owner = as_owner and bool(settings.database_owner_url)
    has_session = is_owner or settings.has_sessions
    if needs_session and not has_session:
        raise StartError(
            "migrations need a database session: set DATABASE_OWNER_URL to PostgreSQL itself, not to the pooler."
        )
    connect_args: dict[str, object] = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "application_name": "ava db"}
    if has_session:
        connect_args["options"] = f"-c lock_timeout={_LOCK_TIMEOUT_MS} {session_settings.options(0)}"
    url = settings.database_owner_url if is_owner else settings.database_url
    engine = create_engine(driver_url(url), poolclass=NullPool, hide_parameters=True, connect_args=connect_args)
    name = "DATABASE_OWNER_URL" if is_owner else "DATABASE_URL" if has_session else "DATABASE_POOL_URL"
    server_version.require(engine, name)
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise DatabaseUnreachable(_unreachable(name, error)) from None
    with connection:
        try:
            yield connection
        except DBAPIError as error:
            if failures.state_of(error) != failures.NO_PRIVILEGE:
                raise
            raise StartError(_forbidden(is_owner=is_owner, error=error)) from None


def _forbidden(*, is_owner: bool, error: DBAPIError) -> str:
    name, cure = ("DATABASE_URL", "grant them by `ava db upgrade` with the owner's URL in DATABASE_OWNER_URL")
    if is_owner:
        name, cure = "DATABASE_OWNER_URL", "make it the owner of the database, or GRANT it CREATE on the schema"
    return f"{name}: its role lacks the rights for this ({str(error.orig).strip().splitlines()[0]}); {cure}."


def _unreachable(name: str, error: OperationalError) -> str:
    reason = str(error.orig).strip().splitlines()[0]
    if any(words in reason for words in _REFUSED_OPTIONS):
        return (
            f"{name} leads to a pooler, which refuses session settings. Set it to PostgreSQL itself, and "
            "DATABASE_POOL_URL to the pooler; if everything must go through the pooler, set only DATABASE_POOL_URL."
        )
    return f"{name}: the database cannot be reached: {reason}"
