"""The cache's promises, with a store and a database that the tests control."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from app.cache import Cache, Fallback, Overloaded, is_due_early
from app.stores import Entry, Epoch, NoStore, StoreUnavailable

pytestmark = pytest.mark.anyio


class DictStore(NoStore):
    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.down = False

    def peek(self, key: int) -> Entry | None:
        return self.entries.get(key)

    async def get(self, key: int) -> Entry | None:
        if self.down:
            raise StoreUnavailable
        return self.entries.get(key)

    async def put(self, key: int, entry: Entry, epoch: Epoch) -> None:
        self.entries[key] = entry


class Source:
    """Stands for the database."""

    def __init__(self, value: bytes | None = b"value", *, seconds: float = 0.0) -> None:
        self.value = value
        self.seconds = seconds
        self.loads = 0

    async def __call__(self) -> bytes | None:
        self.loads += 1
        await asyncio.sleep(self.seconds)
        return self.value


async def test_loads_once_then_remembers() -> None:
    cache, source = Cache(DictStore(), ttl=300), Source()
    assert [await cache.get(1, source) for _ in range(3)] == [b"value"] * 3
    assert source.loads == 1


async def test_remembers_what_does_not_exist_for_a_shorter_time() -> None:
    store = DictStore()
    cache, source = Cache(store, ttl=300), Source(None)
    assert [await cache.get(1, source) for _ in range(3)] == [None] * 3
    assert source.loads == 1
    assert store.entries[1].expires_at < time.time() + 40


async def test_lifetimes_differ() -> None:
    store = DictStore()
    cache = Cache(store, ttl=300)
    for key in range(50):
        await cache.get(key, Source())
    lifetimes = [entry.expires_at - time.time() for entry in store.entries.values()]
    assert 269 < min(lifetimes) < max(lifetimes) < 331
    assert max(lifetimes) - min(lifetimes) > 20


async def test_concurrent_misses_share_one_load() -> None:
    cache, source = Cache(DictStore(), ttl=300), Source(seconds=0.05)
    answers = await asyncio.gather(*(cache.get(1, source) for _ in range(100)))
    assert answers == [b"value"] * 100
    assert source.loads == 1


async def test_a_caller_who_leaves_takes_nothing_from_the_others() -> None:
    cache, source = Cache(DictStore(), ttl=300), Source(seconds=0.05)
    first = asyncio.create_task(cache.get(1, source))
    second = asyncio.create_task(cache.get(1, source))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == b"value"


async def test_a_failed_load_reaches_everyone_and_is_not_remembered() -> None:
    cache = Cache(DictStore(), ttl=300)

    async def broken() -> bytes | None:
        await asyncio.sleep(0.01)
        raise OSError("no database")

    outcomes = await asyncio.gather(
        *(cache.get(1, broken) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    assert await cache.get(1, Source()) == b"value"


async def test_a_reader_after_a_change_joins_no_load_from_before() -> None:
    cache = Cache(NoStore(), ttl=300)
    before, after = Source(b"old", seconds=0.05), Source(b"new")
    reader = asyncio.create_task(cache.get(1, before))
    await asyncio.sleep(0.01)
    async with cache.change(1):
        pass
    assert await cache.get(1, after) == b"new"
    assert await reader == b"old"


async def test_expiring_entries_are_refreshed_in_the_background() -> None:
    store = DictStore()
    # Loading took so long that XFetch is all but certain to refresh at once.
    store.entries[1] = Entry(b"old", cost=1e6, expires_at=time.time() + 1)
    cache, source = Cache(store, ttl=300), Source(b"new")
    assert await cache.get(1, source) == b"old"
    await asyncio.sleep(0.01)
    assert source.loads == 1
    assert store.entries[1].value == b"new"


async def test_peeking_finds_only_what_needs_no_care() -> None:
    store = DictStore()
    cache = Cache(store, ttl=300)
    assert cache.peek(1) is None
    await cache.get(1, Source(b"there"))
    assert cache.peek(1) == b"there"
    await cache.get(2, Source(None))
    assert cache.peek(2) is None, "the route says what is not found"
    store.entries[1] = Entry(b"old", cost=1e6, expires_at=time.time() + 1)
    assert cache.peek(1) is None, "the route refreshes what is about to expire"
    store.entries[1] = Entry(b"old", cost=0, expires_at=time.time() - 1)
    assert cache.peek(1) is None


async def test_xfetch_follows_its_formula() -> None:
    # P(refresh) at distance d before expiry is exp(-d / (delta * beta)).
    random.seed(1)
    now, delta, distance = 1000.0, 0.5, 0.4
    entry = Entry(b"", cost=delta, expires_at=now + distance)
    share = sum(is_due_early(entry, now) for _ in range(20_000)) / 20_000
    assert share == pytest.approx(math.exp(-distance / delta), abs=0.02)


async def test_without_its_store_loads_are_bounded_then_refused() -> None:
    store = DictStore()
    store.down = True
    fallback = Fallback(concurrency=2, waiting=3, patience=5)
    cache, busiest, busy = Cache(store, ttl=300, fallback=fallback), 0, 0

    def source() -> Callable[[], Awaitable[bytes]]:
        async def load() -> bytes:
            nonlocal busy, busiest
            busy += 1
            busiest = max(busiest, busy)
            await asyncio.sleep(0.02)
            busy -= 1
            return b"value"

        return load

    outcomes = await asyncio.gather(
        *(cache.get(key, source()) for key in range(20)), return_exceptions=True
    )
    assert busiest == 2
    # At first all twenty only wait; three may, the rest are told to come back.
    assert outcomes.count(b"value") >= 3
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) >= 15


async def test_waiting_for_the_database_ends() -> None:
    store = DictStore()
    store.down = True
    cache = Cache(store, ttl=300, fallback=Fallback(concurrency=1, patience=0.02))
    slow = asyncio.create_task(cache.get(1, Source(seconds=0.2)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cache.get(2, Source())
    assert await slow == b"value"
