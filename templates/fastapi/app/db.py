"""Engines and transactions.

Reads run in autocommit: one statement is its own snapshot and costs one round trip, not three.
Writes run in a transaction of their own, and on SQLite through one connection per process:
its writers queue fairly in this process's pool instead of polling SQLite's lock.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Insert, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

SQLITE_BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write; long, for a starved machine is not an error."""
SQLITE_READERS = 4
POOL_TIMEOUT = 30.0
STATEMENT_TIMEOUT = 15.0
"""Seconds after which PostgreSQL gives up on a statement, so that none holds a connection."""

_ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}


def parse_url(text: str) -> URL:
    """A database URL with the async driver that this service uses for it."""
    url = make_url(_spell(text))
    if url.drivername not in _ASYNC_DRIVERS.values():
        message = f"DATABASE_URL: expected sqlite:// or postgresql://, found {url.drivername}://"
        raise ValueError(message)
    if "sslmode" in url.query:
        # libpq's word, which hosting providers put in their URLs; asyncpg calls it `ssl`.
        url = url.update_query_dict({"ssl": url.query["sslmode"]}).difference_update_query(
            ["sslmode"]
        )
    return url


def _spell(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    return _ASYNC_DRIVERS.get(scheme, scheme) + separator + rest


class Database:
    """The connection pools of this process."""

    def __init__(self, url: str, *, pool_size: int = 10, application: str = "app") -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writer, self._reader = _sqlite_engines(self.url)
        else:
            self._writer = _postgres_engine(self.url, pool_size, application)
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self.last_success = float("-inf")
        """Monotonic time at which the database last answered; readiness rests on it."""

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading; what it loads stays usable after it is closed."""
        async with AsyncSession(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session
        self.last_success = time.monotonic()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction, committed at the end and rolled back on any error."""
        async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session
        self.last_success = time.monotonic()

    def connections(self) -> tuple[int, int]:
        """Open connections of this process: (in use, idle)."""
        engines = {self._writer.pool, self._reader.pool}
        pools = [pool for pool in engines if isinstance(pool, QueuePool)]
        return sum(p.checkedout() for p in pools), sum(p.checkedin() for p in pools)

    @property
    def sqlite_path(self) -> Path:
        return prepare_sqlite_file(self.url)

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()


def _postgres_engine(url: URL, pool_size: int, application: str) -> AsyncEngine:
    # Prepared statements belong to a server connection. Behind a pooler that hands those out
    # per transaction, add `prepared_statement_cache_size=0` to the URL.
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "timeout": 5,
            "server_settings": {
                "application_name": application,
                "statement_timeout": str(int(STATEMENT_TIMEOUT * 1000)),
                "idle_in_transaction_session_timeout": str(int(STATEMENT_TIMEOUT * 1000)),
            },
        },
    )


def _sqlite_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """(writer, readers) on one file."""
    prepare_sqlite_file(url)
    connect_args = {"timeout": SQLITE_BUSY_TIMEOUT}
    writer = create_async_engine(
        url, pool_size=1, max_overflow=0, pool_timeout=POOL_TIMEOUT, connect_args=connect_args
    )
    reader = create_async_engine(
        url,
        pool_size=SQLITE_READERS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        # Nothing to roll back in autocommit, and each call is a hop to a thread and back.
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        connect_args=connect_args,
    )
    for engine in (writer, reader):
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(writer.sync_engine, "connect", _leave_begin_to_us)
    event.listen(writer.sync_engine, "begin", _begin_immediate)
    return writer, reader


def prepare_sqlite_file(url: URL) -> Path:
    """Create the folder of the database file; the file itself comes with the first migration."""
    if not url.database or url.database == ":memory:":
        message = "DATABASE_URL: SQLite needs a file, for replicas and worker share it"
        raise ValueError(message)
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _configure_sqlite(dbapi_connection: Any, _entry: ConnectionPoolEntry) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # In WAL mode a commit survives the death of every process; only a power cut can take back
    # the last ones (never corrupt the file). FULL would cost an fsync per request.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _leave_begin_to_us(dbapi_connection: Any, _entry: ConnectionPoolEntry) -> None:
    dbapi_connection.isolation_level = None


def _begin_immediate(connection: Connection) -> None:
    # A transaction that starts as a reader and then writes fails at once with SQLITE_BUSY when
    # another wrote in between, whatever the timeout; one that asks for the lock first waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def insert_or_ignore(session: AsyncSession, table: type[DeclarativeBase]) -> Insert:
    """INSERT ... ON CONFLICT DO NOTHING, in the dialect of the session's database."""
    # A dialect is imported when its database is in use, like its driver.
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415

    return sqlite.insert(table).on_conflict_do_nothing()
