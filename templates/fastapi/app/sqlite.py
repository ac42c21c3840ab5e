"""SQLite, on the event loop itself.

A statement by primary key takes about ten microseconds. Handing it to a thread and the answer
back takes ten times that, and while the thread waits for the interpreter's lock in the middle of
a transaction, all other processes wait for the database's. So statements run where they are
called, and only waiting, for another process's transaction, leaves the loop to others. What runs
for long would hold up every request: such queries belong on PostgreSQL.
"""

import asyncio
import contextlib
import random
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from app.db import Database, DatabaseError, ForeignKeyViolation, Row, Session, UniqueViolation

WRITE_PATIENCE = 30.0
"""Seconds to wait for another process's write; long, for a starved machine is not an error."""
READ_PATIENCE = 1.0
"""Readers of a WAL wait for nobody, but for its recovery after a process was killed."""
RETRY_SECONDS = (0.0005, 0.008)
"""Between two attempts to begin a write: at first about as long as a transaction takes."""
MMAP_BYTES = 256 * 1024 * 1024
CHECKPOINT_PAGES, LATE_CHECKPOINT_PAGES = 1000, 20_000
"""Length of the write-ahead log (4 and 80 MB) at which a commit also moves it into the database
and waits for the disk. The worker does so early; the API only where no worker does."""


class SqliteDatabase(Database):
    """One connection for reading and one for writing; the writers of a process queue fairly."""

    def __init__(self, path: Path, *, keeps_house: bool = False) -> None:
        super().__init__()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._checkpoint_pages = CHECKPOINT_PAGES if keeps_house else LATE_CHECKPOINT_PAGES
        self._reader: _SqliteSession | None = None
        self._writer: _SqliteSession | None = None
        self._writing = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Session]:
        if self._reader is None:
            self._reader = self._connect(READ_PATIENCE)
        yield self._reader
        self.last_success = time.monotonic()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Session]:
        async with self._writing:
            if self._writer is None:
                self._writer = self._connect(0)
            connection = self._writer.connection
            await _begin(connection)
            try:
                yield self._writer
                with _explained():
                    connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self.last_success = time.monotonic()

    def connections(self) -> tuple[int, int]:
        opened = (self._reader is not None) + (self._writer is not None)
        used = int(self._writing.locked())
        return used, max(opened - used, 0)

    async def close(self) -> None:
        for session in (self._reader, self._writer):
            if session is not None:
                session.connection.close()
        self._reader = self._writer = None

    def _connect(self, patience: float) -> "_SqliteSession":
        with _explained():
            connection = sqlite3.connect(self.path, timeout=patience, isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            # In WAL mode a commit survives the death of every process; only a power cut can take
            # back the last ones (never corrupt the file). FULL would cost an fsync per request.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
        return _SqliteSession(connection)


class _SqliteSession:
    """Coroutines that never wait, so a transaction made of them is over in one go."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        with _explained():
            return self.connection.execute(_translate(sql), values).fetchall()

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with _explained():
            self.connection.executemany(_translate(sql), rows)


async def _begin(connection: sqlite3.Connection) -> None:
    """Take the lock first: a reader that turns writer fails when another wrote in between."""
    deadline = time.monotonic() + WRITE_PATIENCE
    delay, longest = RETRY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            # The low byte is the error, the rest says more about it.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise DatabaseError(str(error)) from error
        else:
            return
        await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
        delay = min(delay * 2, longest)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        kind = _VIOLATIONS.get(error.sqlite_errorcode, DatabaseError)
        raise kind(str(error)) from error
    except sqlite3.Error as error:
        raise DatabaseError(str(error)) from error


_VIOLATIONS = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: UniqueViolation,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: ForeignKeyViolation,
}


@lru_cache(maxsize=256)
def _translate(sql: str) -> str:
    """PostgreSQL's places are `$1`; its row locks are needless, for a write locks everything."""
    return re.sub(r" FOR UPDATE( SKIP LOCKED)?", "", sql).replace("$", "?")


def _text(moment: datetime) -> str:
    """Always as long, so that the order of the texts is the order of the instants."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


sqlite3.register_adapter(datetime, _text)
