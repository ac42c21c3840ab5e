"""What the service asks of a database, whichever it is.

SQL is written once, in PostgreSQL's dialect with `$1` for the first value; `sqlite.py` speaks as
much of it as is needed. Reads run outside of transactions: one statement is its own snapshot and
costs one round trip. Writes run in a transaction of their own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

Row = Sequence[Any]


class DatabaseError(Exception):
    """The database does not answer, or could not do what it was asked."""


class UniqueViolation(DatabaseError):
    """Another row has this value already."""


class ForeignKeyViolation(DatabaseError):
    """The row that this one belongs to does not exist."""


class Session(Protocol):
    """Runs statements. Raises DatabaseError."""

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """All rows that a statement returns."""

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """The same statement for many rows of values."""


class Database(ABC):
    """The connections of this process."""

    def __init__(self) -> None:
        self.last_success = float("-inf")
        """Monotonic time at which the database last answered; readiness rests on it."""

    @abstractmethod
    def read(self) -> AbstractAsyncContextManager[Session]:
        """A session for reading. Raises DatabaseError."""

    @abstractmethod
    def write(self) -> AbstractAsyncContextManager[Session]:
        """A session in a transaction, committed at the end and rolled back on any error."""

    @abstractmethod
    def connections(self) -> tuple[int, int]:
        """Open connections of this process: (in use, idle)."""

    @abstractmethod
    async def close(self) -> None: ...


def open_database(
    url: str, *, pool_size: int = 10, application: str = "app", keeps_house: bool = False
) -> Database:
    """The database behind a URL; it connects on first use. Raises ValueError.

    A process that `keeps_house` does what SQLite would otherwise make some request wait for.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme == "sqlite":
        from app.sqlite import SqliteDatabase  # noqa: PLC0415  # only what the URL asks for

        return SqliteDatabase(sqlite_path(url), keeps_house=keeps_house)
    if scheme in {"postgres", "postgresql"}:
        from app.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url, pool_size=pool_size, application=application)
    raise ValueError(f"DATABASE_URL: expected sqlite:// or postgresql://, found {scheme}://")


def sqlite_path(url: str) -> Path:
    """The file of a SQLite URL: sqlite:///relative or sqlite:////absolute. Raises ValueError."""
    path = url.partition(":///")[2].partition("?")[0]
    if not path or path == ":memory:":
        raise ValueError("DATABASE_URL: SQLite needs a file, for replicas and worker share it")
    return Path(path)


def placeholders(rows: int, columns: int) -> str:
    """`($1, $2), ($3, $4)`: the places of `rows` rows in a statement's VALUES."""
    return ", ".join(
        "(" + ", ".join(f"${row * columns + column + 1}" for column in range(columns)) + ")"
        for row in range(rows)
    )
