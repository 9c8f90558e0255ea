"""One process's way to PostgreSQL: a small pool, autocommit for single statements, and errors in our own words."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

import psycopg2
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ava.errors import ConnectionsBusy, DatabaseUnavailable

__all__ = ["Connection", "Database", "DedicatedConnection", "PoolMeter"]

#: SQLSTATE classes that pass by themselves: connection failures, lack of resources (connections, disk, memory),
#: an operator's intervention (shutdown, statement time-out). PostgreSQL manual, appendix A.
_PASSING_CLASSES = ("08", "53", "57", "58")
#: Every session's settings. What is prepared here has one best plan, so it is planned once, and not tried five times.
_SESSION = "-c timezone=UTC -c jit=off -c plan_cache_mode=force_generic_plan"
#: A failure that took so many seconds was no refusal but silence; whoever asks within as many more is spared the wait.
_SILENCE_SECONDS = 0.5


class PoolMeter(Protocol):
    """Who counts what a pool lends."""

    def checkout(self) -> AbstractContextManager[object]:
        """Surrounds each loan of a connection."""
        ...

    def checkout_timed_out(self) -> None:
        """Nobody gave a connection back in time for one who waited for it."""
        ...


class _NoMeter:
    def checkout(self) -> AbstractContextManager[object]:
        return nullcontext()

    def checkout_timed_out(self) -> None:
        pass


class Database:
    """A pool of connections to one database. Nothing connects before the first use."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        pool_size: int = 5,
        wait_seconds: float = 2.0,
        statement_seconds: float = 30.0,
        meter: PoolMeter | None = None,
        queue_seconds: float | None = None,
    ) -> None:
        """`name` tells PostgreSQL's administrators which of our processes this is.

        `queue_seconds`: how long one may wait for his turn where more ask at once than there are connections. The
        pool's own waiters do not hear that a connection could not be made, and would wait to the end of `wait_seconds`.
        """
        self._meter: PoolMeter = meter or _NoMeter()
        self._turns = None if queue_seconds is None else threading.Semaphore(pool_size)
        self._queue_seconds = queue_seconds
        self._engine: Engine = create_engine(
            driver_url(url),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_use_lifo=True,
            connect_args={
                "application_name": f"ava {name}",
                "connect_timeout": max(2, round(wait_seconds)),
                "options": f"-c statement_timeout={round(statement_seconds * 1000)} {_SESSION}",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
        )
        event.listen(self._engine, "checkout", _refuse_dead)
        event.listen(self._engine, "do_connect", self._refuse_silent)
        self._silent_until = 0.0

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend a connection on which each statement is its own transaction.

        Raises `DatabaseUnavailable` where the database cannot be reached or gives up for a passing reason, and
        `ConnectionsBusy`, which is one, where others have all the pool's connections for too long.
        """
        with self._turn(), self._translated(), self._engine.connect() as connection, self._meter.checkout():
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection for several statements that hold together. Raises like `connect`."""
        with (
            self._turn(),
            self._translated(),
            self._engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            self._meter.checkout(),
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        # Where nothing answers, who is served next finds that out at once, and so does the one after him.
        if not self._turns.acquire(timeout=self._queue_seconds):
            self._meter.checkout_timed_out()
            raise ConnectionsBusy
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        began = self._begin()
        try:
            yield
        except PoolTimeout:
            self._meter.checkout_timed_out()
            raise ConnectionsBusy from None
        except (DBAPIError, psycopg2.Error) as error:
            self._raise_outage(error, began)
            raise

    def _begin(self) -> float:
        """When something is asked, on the stopwatch. Raises `DatabaseUnavailable` where nothing answered just now."""
        began = time.monotonic()
        if began < self._silent_until:
            raise DatabaseUnavailable
        return began

    def _raise_outage(self, error: BaseException, began: float) -> None:
        """Raise `DatabaseUnavailable` where that is what an error means; `began`: when it was asked."""
        if not _is_outage(error):
            return
        if _state(error) is None:
            self._note_silence(began)
        raise DatabaseUnavailable from error

    def dedicated(self) -> DedicatedConnection:
        """A connection of the pool for one thread to keep, which has it to itself from its first use on."""
        return DedicatedConnection(self)

    def _note_silence(self, began: float) -> None:
        # Where nothing answers, one wait for all is enough; a refusal costs nobody anything.
        if (now := time.monotonic()) - began >= _SILENCE_SECONDS:
            self._silent_until = now + _SILENCE_SECONDS

    def _refuse_silent(self, *_: Any) -> None:
        # For those who began to wait for a connection before it was known that there is none to be had.
        if time.monotonic() < self._silent_until:
            raise psycopg2.OperationalError("PostgreSQL did not answer a moment ago")

    def ping(self) -> None:
        """Make sure that the database answers. Raises `DatabaseUnavailable` where it does not."""
        with self.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def forget_connections(self) -> None:
        """Drop the pool without closing it: in a forked child, the connections are still the parent's."""
        self._engine.dispose(close=False)


class DedicatedConnection:
    """A connection that one thread keeps, for whom a loan from the pool would take as long as a small statement.

    `with kept as connection` is `Database.connect`, and raises like it. What went wrong on a connection ends it; the
    next use gets another.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._loan = ExitStack()
        self._poll: Any = None
        self._began = 0.0

    def __enter__(self) -> Connection:
        self._began = self._database._begin()
        if self._connection is not None and self._poll.poll(0):
            # On an idle connection there is nothing to read but its end.
            self.close()
        if self._connection is None:
            self._connection = self._loan.enter_context(self._database.connect())
            raw: Any = self._connection.connection.dbapi_connection
            self._poll = _new_poll()
            self._poll.register(raw.fileno(), select.POLLIN)
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is not None:
            self.close()
            self._database._raise_outage(error, self._began)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection = None
            self._loan.close()


def driver_url(url: str) -> URL:
    """Name the driver: SQLAlchemy 2.1 takes a plain `postgresql://` for psycopg 3, and this project uses psycopg2."""
    return make_url(url).set(drivername="postgresql+psycopg2")


def _is_outage(error: BaseException) -> bool:
    """Whether an error, SQLAlchemy's or the driver's, is the database being away or overloaded, and no mistake."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if (state := _state(error)) is not None:
        return state.startswith(_PASSING_CLASSES)
    return isinstance(_cause(error), psycopg2.OperationalError | psycopg2.InterfaceError)


def _cause(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _state(error: BaseException) -> str | None:
    """PostgreSQL's SQLSTATE; None where the error is the driver's own."""
    return getattr(_cause(error), "pgcode", None)


def _refuse_dead(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Have a pooled connection replaced that the server has closed meanwhile, so that nobody meets it.

    On an idle connection there is nothing to read but its end.
    """
    idle = _new_poll()
    try:
        idle.register(dbapi_connection.fileno(), select.POLLIN)
        is_dead = bool(idle.poll(0))
    except psycopg2.InterfaceError:
        is_dead = True
    if is_dead:
        raise DisconnectionError("the server has closed this connection")


def _new_poll() -> Any:
    """The kernel's own: gevent's, in whose place nothing is waited for here, takes ten times as long."""
    monkey = sys.modules.get("gevent.monkey")
    return select.poll() if monkey is None else monkey.get_original("select", "poll")()
