"""PostgreSQL through asyncpg: one pool per process, sized by the connection budget."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from app.db import Database, DatabaseError, ForeignKeyViolation, Row, Session, UniqueViolation

CONNECT_TIMEOUT = 5.0
POOL_TIMEOUT = 30.0
STATEMENT_TIMEOUT = 15.0
"""Seconds after which PostgreSQL gives up on a statement, so that none holds a connection."""
CLIENT_MARGIN = 5.0
"""Seconds more until this side gives up as well: then the server or the network is gone."""


class PostgresDatabase(Database):
    """Opens its pool on first use.

    Prepared statements belong to a server connection. Behind a pooler that hands those out per
    transaction, add `statement_cache_size=0` to the URL.
    """

    def __init__(self, url: str, *, pool_size: int, application: str) -> None:
        super().__init__()
        self._dsn, options = split_url(url)
        timeout = str(int(STATEMENT_TIMEOUT * 1000))
        self._options: dict[str, Any] = {
            **options,
            "min_size": 0,
            "max_size": pool_size,
            "connection_class": _Connection,
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": STATEMENT_TIMEOUT + CLIENT_MARGIN,
            "server_settings": {
                "application_name": application,
                "statement_timeout": timeout,
                "idle_in_transaction_session_timeout": timeout,
            },
        }
        self._pool: Any = None
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Session]:
        async with self._connection() as connection:
            yield _PostgresSession(connection)
        self.last_success = time.monotonic()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Session]:
        async with self._connection() as connection, connection.transaction():
            yield _PostgresSession(connection)
        self.last_success = time.monotonic()

    def connections(self) -> tuple[int, int]:
        if self._pool is None:
            return 0, 0
        idle: int = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with _explained():
            async with self._opening:
                # A pool belongs to an event loop, so it waits for one to run.
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(self._dsn, **self._options)
            async with self._pool.acquire(timeout=POOL_TIMEOUT) as connection:
                yield connection


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    def get_reset_query(self) -> str:
        """Nothing here changes a session, so giving a connection back needs no round trip."""
        return ""


class _PostgresSession:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        with _explained():
            rows: Sequence[Row] = await self._connection.fetch(sql, *values)
            return rows

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with _explained():
            await self._connection.executemany(sql, rows)


def split_url(url: str) -> tuple[str, dict[str, int]]:
    """The URL as asyncpg reads it (libpq's, `sslmode` included), and asyncpg's own options."""
    parts = urlsplit("postgresql://" + url.partition("://")[2])
    query = dict(parse_qsl(parts.query))
    options = {name: int(query.pop(name)) for name in ("statement_cache_size",) if name in query}
    return urlunsplit(parts._replace(query=urlencode(query))), options


# An InternalClientError, too, is how asyncpg reports a connection that broke at the wrong moment.
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise UniqueViolation(str(error)) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise ForeignKeyViolation(str(error)) from error
    except _LOST as error:
        raise DatabaseError(str(error) or repr(error)) from error
