"""SQLite on the event loop: what other processes do is waited for, what fails leaves nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from app.db import DatabaseError, UniqueViolation
from app.models import instant
from app.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text UNIQUE)")
    connection.close()
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    await database.close()


async def notes(database: SqliteDatabase) -> list[str]:
    async with database.read() as session:
        return [text for (text,) in await session.fetch("SELECT text FROM notes ORDER BY id")]


async def test_a_transaction_is_all_or_nothing(database: SqliteDatabase) -> None:
    async def write_twice() -> None:
        async with database.write() as session:
            for _ in range(2):
                await session.fetch("INSERT INTO notes (text) VALUES ($1)", "same")

    with pytest.raises(UniqueViolation):
        await write_twice()
    assert await notes(database) == []
    async with database.write() as session:
        await session.run_many("INSERT INTO notes (text) VALUES ($1)", [("a",), ("b",)])
    assert await notes(database) == ["a", "b"]


async def test_readers_see_nothing_of_an_open_transaction(database: SqliteDatabase) -> None:
    async with database.write() as session:
        await session.fetch("INSERT INTO notes (text) VALUES ('new')")
        assert await notes(database) == []
    assert await notes(database) == ["new"]


async def test_waiting_for_another_process_leaves_the_loop_free(
    database: SqliteDatabase, path: Path
) -> None:
    async def write(text: str) -> None:
        async with database.write() as session:
            await session.fetch("INSERT INTO notes (text) VALUES ($1)", text)

    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writers = [asyncio.create_task(write(text)) for text in ("first", "second")]
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert await notes(database) == []
    assert not any(writer.done() for writer in writers)
    other.execute("COMMIT")
    other.close()
    await asyncio.wait_for(asyncio.gather(*writers), 10)
    assert await notes(database) == ["first", "second"]


async def test_who_stops_waiting_leaves_no_lock_behind(
    database: SqliteDatabase, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), database.write():
            pytest.fail("two writers at once")
    other.execute("COMMIT")
    other.close()
    async with database.write() as session:
        await session.fetch("INSERT INTO notes (text) VALUES ('later')")
    assert await notes(database) == ["later"]


async def test_row_locks_are_understood_as_needless(database: SqliteDatabase) -> None:
    async with database.write() as session:
        await session.fetch("INSERT INTO notes (text) VALUES ('a')")
        query = "SELECT text FROM notes WHERE id = $1 FOR UPDATE SKIP LOCKED"
        assert list(await session.fetch(query, 1)) == [("a",)]


async def test_errors_are_the_same_as_on_any_database(database: SqliteDatabase) -> None:
    async with database.read() as session:
        with pytest.raises(DatabaseError, match="no such table"):
            await session.fetch("SELECT 1 FROM nowhere")


async def test_an_instant_comes_back_as_it_went_in(database: SqliteDatabase) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5)))
    async with database.read() as session:
        ((text,),) = await session.fetch("SELECT $1", moment)
    assert text == "2026-01-01 22:04:05.000000"
    assert instant(text) == moment
    assert instant(text).tzinfo is UTC
