"""A read-through cache that a popular key cannot stampede.

* Entries live for a time with jitter, so that what was loaded together does not expire together.
* XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention",
  VLDB 2015): an entry is refreshed before it expires, with a probability that rises as the end
  nears, by one request in the background while the others are still served.
* Single flight: concurrent misses of one key share one load.
* "Does not exist" is cached too, for a shorter time.
* A store that is down is left alone by its circuit breaker; a bounded number of loads go to the
  database instead, the rest are refused, for a database that drowns helps nobody.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from app import metrics
from app.stores import Entry, Epoch, Store, StoreUnavailable

logger = logging.getLogger(__name__)

Load = Callable[[], Awaitable[bytes | None]]

BETA = 1.0
"""XFetch's eagerness: above 1 refreshes earlier, 0 never does."""
NEGATIVE_TTL_SECONDS = 30.0
JITTER = 0.1

_HITS, _NEGATIVE_HITS, _MISSES, _BYPASSES = (
    metrics.CACHE_REQUESTS.labels(outcome) for outcome in ("hit", "negative_hit", "miss", "bypass")
)


class Overloaded(Exception):
    """More work than can be taken on now; worth trying again in a moment."""


@dataclass(frozen=True, slots=True)
class _Flight:
    task: "asyncio.Task[bytes | None]"
    epoch: Epoch


class Cache:
    """Users by id, as the bytes of their JSON."""

    def __init__(self, store: Store, *, ttl: float, fallback: "Fallback | None" = None) -> None:
        self._store = store
        self._ttl = ttl
        self._fallback = fallback or Fallback()
        self._flights: dict[int, _Flight] = {}

    def peek(self, key: int) -> bytes | None:
        """The value if it can be had without waiting and needs no refresh; else ask `get`."""
        entry = self._store.peek(key)
        if entry is None or entry.value is None or is_due_early(entry, time.time()):
            return None
        _HITS.inc()
        return entry.value

    async def get(self, key: int, load: Load) -> bytes | None:
        """The value behind `key`, through `load` if need be. Raises Overloaded."""
        try:
            entry = await self._store.get(key)
        except StoreUnavailable:
            _BYPASSES.inc()
            return await self._share(key, load, self._load_directly)
        now = time.time()
        if entry is None or entry.expires_at <= now:
            _MISSES.inc()
            return await self._share(key, load, self._load_and_keep)
        if is_due_early(entry, now):
            self._start(key, load, self._load_and_keep)
        (_HITS if entry.value is not None else _NEGATIVE_HITS).inc()
        return entry.value

    async def created(self, key: int, value: bytes) -> None:
        entry = Entry(value, cost=0.001, expires_at=time.time() + self._lifetime(value))
        await self._store.created(key, entry)

    @contextlib.asynccontextmanager
    async def change(self, key: int) -> AsyncIterator[None]:
        """Surrounds a change of the row behind `key`."""
        await self._store.changing(key)
        try:
            yield
        finally:
            # Also after an error: the commit may have gone through all the same.
            self._flights.pop(key, None)
            await self._store.changed(key)

    async def close(self) -> None:
        await self._store.close()

    async def _share(
        self, key: int, load: Load, how: "Callable[[int, Load], Awaitable[bytes | None]]"
    ) -> bytes | None:
        task = self._start(key, load, how)
        # Shielded: a client that hangs up must not take the answer away from the others.
        return await asyncio.shield(task)

    def _start(
        self, key: int, load: Load, how: "Callable[[int, Load], Awaitable[bytes | None]]"
    ) -> "asyncio.Task[bytes | None]":
        epoch = self._store.epoch()
        flight = self._flights.get(key)
        if flight is not None and flight.epoch == epoch:
            return flight.task

        async def fly() -> bytes | None:
            return await how(key, load)

        task = asyncio.create_task(fly())
        flight = _Flight(task, epoch)
        self._flights[key] = flight

        def land(task: "asyncio.Task[bytes | None]") -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if not task.cancelled() and (error := task.exception()):
                logger.debug("load failed", extra={"key": key, "error": repr(error)})

        task.add_done_callback(land)
        return task

    async def _load_and_keep(self, key: int, load: Load) -> bytes | None:
        epoch = self._store.epoch()
        started = time.perf_counter()
        metrics.CACHE_LOADS.inc()
        value = await load()
        cost = time.perf_counter() - started
        with contextlib.suppress(StoreUnavailable):
            entry = Entry(value, cost, time.time() + self._lifetime(value))
            await self._store.put(key, entry, epoch)
        return value

    async def _load_directly(self, _key: int, load: Load) -> bytes | None:
        async with self._fallback.slot():
            metrics.CACHE_LOADS.inc()
            return await load()

    def _lifetime(self, value: bytes | None) -> float:
        ttl = self._ttl if value is not None else min(self._ttl, NEGATIVE_TTL_SECONDS)
        return ttl * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311


def is_due_early(entry: Entry, now: float) -> bool:
    """XFetch: now - delta * beta * ln(rand) >= expiry."""
    # 1 - random() lies in (0, 1], where the logarithm is defined.
    draw = 1.0 - random.random()  # noqa: S311  # nosec B311: spreads load, guards nothing
    return now - entry.cost * BETA * math.log(draw) >= entry.expires_at


class Fallback:
    """How much may go past a dead store to the database at once."""

    def __init__(self, *, concurrency: int = 16, waiting: int = 256, patience: float = 5.0) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._waiting_limit = waiting
        self._patience = patience

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A turn at the database. Raises Overloaded when too many wait, or for too long."""
        if self._waiting >= self._waiting_limit:
            raise Overloaded
        self._waiting += 1
        try:
            await asyncio.wait_for(self._slots.acquire(), self._patience)
        except TimeoutError as error:
            raise Overloaded from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
