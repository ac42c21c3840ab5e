"""What a replica's memory knows of changes that others make to the same SQLite file."""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from app import migrate
from app.breaker import CircuitBreaker
from app.stores import Entry, MemoryStore, RedisStore, StoreUnavailable

pytestmark = pytest.mark.anyio


def entry(value: bytes | None) -> Entry:
    return Entry(value, cost=0.001, expires_at=time.time() + 300)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "app.db"
    migrate.with_connection(f"sqlite:///{path}", migrate.upgrade)
    return path


@pytest.fixture
def other(migrated: Path) -> Iterator[sqlite3.Connection]:
    """Another process, as far as the store can tell."""
    connection = sqlite3.connect(migrated, isolation_level=None)
    connection.execute("DELETE FROM users")
    for number in (1, 2):
        connection.execute(
            "INSERT INTO users (id, name, email, created_at, updated_at)"
            " VALUES (?, 'Ada', ?, '2026-01-01', '2026-01-01')",
            (number, f"{number}@example.com"),
        )
    yield connection
    connection.close()


@pytest.fixture
def store(migrated: Path) -> MemoryStore:
    return MemoryStore(migrated, capacity=100)


async def test_forgets_exactly_what_another_changed(
    store: MemoryStore, other: sqlite3.Connection
) -> None:
    await store.get(1)
    for key in (1, 2):
        await store.put(key, entry(b"user"), store.epoch())
    other.execute("UPDATE users SET name = 'Grace' WHERE id = 1")
    assert await store.get(1) is None
    assert await store.get(2) is not None
    other.execute("DELETE FROM users WHERE id = 2")
    assert await store.get(2) is None


async def test_keeps_nothing_that_changed_while_it_was_loaded(
    store: MemoryStore, other: sqlite3.Connection
) -> None:
    await store.get(1)
    epoch = store.epoch()
    other.execute("UPDATE users SET name = 'Grace' WHERE id = 1")
    await store.get(2)  # Another request follows the change meanwhile.
    await store.put(1, entry(b"Ada"), epoch)
    assert await store.get(1) is None


async def test_forgets_absence_after_any_write(
    store: MemoryStore, other: sqlite3.Connection
) -> None:
    await store.get(3)
    epoch = store.epoch()
    await store.put(3, entry(None), epoch)
    assert await store.get(3) is not None
    other.execute(
        "INSERT INTO users (id, name, email, created_at, updated_at)"
        " VALUES (3, 'Ada', '3@example.com', '2026-01-01', '2026-01-01')"
    )
    assert await store.get(3) is None
    await store.put(3, entry(None), epoch)
    assert await store.get(3) is None


async def test_drops_everything_when_the_log_has_a_gap(
    store: MemoryStore, other: sqlite3.Connection
) -> None:
    await store.get(1)
    for key in (1, 2):
        await store.put(key, entry(b"user"), store.epoch())
    other.execute("BEGIN")
    for _ in range(10_010):
        other.execute("UPDATE users SET name = 'Grace' WHERE id = 1")
    other.execute("COMMIT")
    assert await store.get(2) is None
    assert other.execute("SELECT count(*) FROM user_changes").fetchone() == (10_000,)


async def test_serves_nothing_while_it_cannot_follow(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "empty.db")
    await store.put(1, entry(b"user"), store.epoch())
    assert await store.get(1) is None


async def test_memory_is_bounded(store: MemoryStore, other: sqlite3.Connection) -> None:
    del other
    await store.get(0)
    for key in range(1, 201):
        await store.put(key, entry(b"user"), store.epoch())
    assert await store.get(1) is None
    assert await store.get(200) is not None


def test_breaker_opens_probes_and_closes() -> None:
    now = 0.0
    breaker = CircuitBreaker(threshold=2, pause=10, clock=lambda: now)
    breaker.failed()
    assert breaker.allows_call()
    breaker.failed()
    assert not breaker.allows_call()
    now = 13.0
    assert [breaker.allows_call() for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert not breaker.allows_call()
    now = 26.0
    assert breaker.allows_call()
    breaker.succeeded()
    assert all(breaker.allows_call() for _ in range(3))


@pytest.fixture
def redis_url() -> str:
    if url := os.environ.get("REDIS_URL"):
        return url
    return pytest.skip("no REDIS_URL: nothing real to test against")


async def test_redis_shares_entries_and_tombstones(redis_url: str) -> None:
    prefix = f"test-{uuid4().hex}"
    one, other = (RedisStore.connect(redis_url, prefix=prefix) for _ in range(2))
    await one.put(1, entry(b"old"), one.epoch())
    found = await other.get(1)
    assert found is not None
    assert found.value == b"old"
    await other.changing(1)
    assert await one.get(1) is None
    await one.put(1, entry(b"old"), one.epoch())
    assert await other.get(1) is None, "a load from before the change was kept"
    await one.put(2, entry(None), one.epoch())
    await one.created(2, entry(b"new"))
    await other.put(2, entry(None), other.epoch())
    found = await other.get(2)
    assert found is not None
    assert found.value == b"new"
    await one.close()
    await other.close()


async def test_a_dead_redis_costs_little() -> None:
    store = RedisStore.connect("redis://127.0.0.1:1/0", prefix="test")
    started = time.monotonic()
    for _ in range(200):
        with pytest.raises(StoreUnavailable):
            await store.get(1)
        await store.changed(1)
    assert time.monotonic() - started < 1
    assert store.breaker.is_open
    await store.close()
