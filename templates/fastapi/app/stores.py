"""Where cached entries live.

`MemoryStore`  this process's memory, beside SQLite: it follows the database's own log of changes
`RedisStore`   one Redis for all replicas
`NoStore`      nowhere: PostgreSQL without Redis, where no replica could know of another's change
"""

import logging
import sqlite3
import struct
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from app.breaker import CircuitBreaker

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)


class StoreUnavailable(Exception):
    """The store does not answer, or is being spared because it did not."""


@dataclass(frozen=True, slots=True)
class Entry:
    value: bytes | None
    """None: known not to exist."""
    cost: float
    """Seconds that loading it took: the delta of XFetch."""
    expires_at: float
    """Unix time, for replicas share entries."""


Epoch = tuple[int, int]
"""How far a store has followed the changes; opaque, only compared."""


class Store(Protocol):
    """Entries by user id."""

    def peek(self, key: int) -> Entry | None:
        """The entry, if that takes no waiting. Never raises."""

    async def get(self, key: int) -> Entry | None:
        """The entry, be it expired or not. Raises StoreUnavailable."""

    async def put(self, key: int, entry: Entry, epoch: Epoch) -> None:
        """Keep an entry whose loading began at `epoch`, unless its row has changed since."""

    async def changing(self, key: int) -> None:
        """The row is about to change. Never raises: a change must not depend on a cache."""

    async def changed(self, key: int) -> None:
        """The row has changed: nobody may be given the old value any more. Never raises."""

    async def created(self, key: int, entry: Entry) -> None:
        """There is a row now: "does not exist" is no longer true. Never raises."""

    def epoch(self) -> Epoch: ...

    async def close(self) -> None: ...


class NoStore:
    def peek(self, key: int) -> Entry | None:
        return None

    async def get(self, key: int) -> Entry | None:
        return None

    async def put(self, key: int, entry: Entry, epoch: Epoch) -> None:
        pass

    async def changing(self, key: int) -> None:
        pass

    async def changed(self, key: int) -> None:
        pass

    async def created(self, key: int, entry: Entry) -> None:
        pass

    def epoch(self) -> Epoch:
        return (0, 0)

    async def close(self) -> None:
        pass


class MemoryStore:
    """Entries in this process, never older than the SQLite file that they come from.

    Before every answer `PRAGMA data_version` on a connection of its own tells whether any other
    connection, of whichever process, has committed since; it reads a counter in shared memory,
    which takes microseconds, so it needs no thread. If so, the log that triggers keep says which
    users changed, and exactly those are forgotten.
    """

    def __init__(self, path: Path, *, capacity: int = 50_000) -> None:
        # No waiting: it is called on the event loop. What cannot be checked counts as changed.
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._capacity = capacity
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._absent: dict[int, Entry] = {}
        self._data_version = -1
        self._last_change = -1

    async def get(self, key: int) -> Entry | None:
        return self.peek(key)

    def peek(self, key: int) -> Entry | None:
        if not self._follow():
            return None
        if entry := self._entries.get(key):
            self._entries.move_to_end(key)
            return entry
        return self._absent.get(key)

    async def put(self, key: int, entry: Entry, epoch: Epoch) -> None:
        if not self._follow():
            return
        if entry.value is None:
            if self.epoch() == epoch and len(self._absent) < self._capacity:
                self._absent[key] = entry
        elif not self._changed_since(key, epoch):
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    async def changing(self, key: int) -> None:
        pass

    async def changed(self, key: int) -> None:
        pass  # The log tells this replica in the same way as all others.

    async def created(self, key: int, entry: Entry) -> None:
        pass

    def epoch(self) -> Epoch:
        return (self._data_version, self._last_change)

    async def close(self) -> None:
        self._connection.close()

    def _follow(self) -> bool:
        """Forget what has changed. False: it cannot be known now, so nothing may be served."""
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version == self._data_version:
                return True
            oldest, newest = self._connection.execute(
                "SELECT coalesce(min(version), 0), coalesce(max(version), 0) FROM user_changes"
            ).fetchone()
            if self._last_change < oldest - 1 or newest < self._last_change:
                self._entries.clear()  # The log does not reach back to what is known here.
            elif newest > self._last_change:
                for (user_id,) in self._connection.execute(
                    "SELECT user_id FROM user_changes WHERE version > ?", (self._last_change,)
                ):
                    self._entries.pop(user_id, None)
        except sqlite3.Error as error:
            logger.warning("cache cannot follow the database", extra={"error": str(error)})
            self._forget_everything()
            return False
        self._absent.clear()
        self._data_version, self._last_change = version, newest
        return True

    def _changed_since(self, key: int, epoch: Epoch) -> bool:
        if epoch[1] == self._last_change:
            return False
        query = "SELECT 1 FROM user_changes WHERE version > ? AND user_id = ?"
        return self._connection.execute(query, (epoch[1], key)).fetchone() is not None

    def _forget_everything(self) -> None:
        self._entries.clear()
        self._absent.clear()
        self._data_version = self._last_change = -1


_HEADER = struct.Struct(">cdd")
_PRESENT, _ABSENT, _TOMBSTONE = b"P", b"A", b"T"
TOMBSTONE_SECONDS = 10.0
"""Longer than a load takes, so that none that began before a change outlives its tombstone."""

# Keep an entry unless a tombstone lies on it.
_PUT_SCRIPT = """
if redis.call('GETRANGE', KEYS[1], 0, 0) == 'T' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class RedisStore:
    """Entries in Redis, shared by all replicas.

    A change lays a tombstone on its key before it commits and again after: a load that began
    before the change finds it and keeps nothing, and a process that dies between commit and
    clean-up leaves no stale entry behind.
    """

    def __init__(
        self, redis: "Redis", *, prefix: str, breaker: CircuitBreaker | None = None
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self.breaker = breaker or CircuitBreaker()
        self._put_script = redis.register_script(_PUT_SCRIPT)
        self._owed: set[int] = set()
        """Keys that changed while Redis could not be told."""

    @classmethod
    def connect(cls, url: str, *, prefix: str) -> Self:
        # Imported here: only replicas with a REDIS_URL pay for it.
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        redis = Redis.from_url(
            url,
            max_connections=256,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            # One immediate retry: after a restart of Redis every pooled connection is dead.
            retry=Retry(NoBackoff(), 1),
        )
        return cls(redis, prefix=prefix)

    def peek(self, key: int) -> Entry | None:
        return None  # It is at the other end of a connection.

    async def get(self, key: int) -> Entry | None:
        raw = await self._call(lambda: self._redis.get(self._name(key)))
        return _decode(raw) if isinstance(raw, bytes) else None

    async def put(self, key: int, entry: Entry, epoch: Epoch) -> None:
        if entry.cost > TOMBSTONE_SECONDS / 2:
            return
        milliseconds = max(int((entry.expires_at - time.time()) * 1000), 1)
        name, raw = self._name(key), _encode(entry)
        if entry.value is None:
            # Never over a value: the row may have been created while this was being loaded.
            await self._call(lambda: self._redis.set(name, raw, px=milliseconds, nx=True))
        else:
            await self._call(lambda: self._put_script(keys=[name], args=[raw, milliseconds]))

    async def changing(self, key: int) -> None:
        await self._bury(key)

    async def changed(self, key: int) -> None:
        await self._bury(key)

    async def created(self, key: int, entry: Entry) -> None:
        try:
            await self.put(key, entry, self.epoch())
        except StoreUnavailable:
            self._owed.add(key)

    def epoch(self) -> Epoch:
        return (0, 0)

    async def close(self) -> None:
        await self._redis.aclose()

    def _name(self, key: int) -> str:
        return f"{self._prefix}:user:{key}"

    async def _bury(self, key: int) -> None:
        name = self._name(key)
        try:
            await self._call(
                lambda: self._redis.set(name, _TOMBSTONE, px=int(TOMBSTONE_SECONDS * 1000))
            )
        except StoreUnavailable:
            self._owed.add(key)

    async def _call(self, command: Callable[[], Awaitable[object]]) -> object:
        """Run `command` through the breaker, after whatever Redis has missed."""
        from redis.exceptions import RedisError  # noqa: PLC0415

        if not self.breaker.allows_call():
            raise StoreUnavailable
        try:
            while self._owed:
                key = next(iter(self._owed))
                await self._redis.delete(self._name(key))
                self._owed.discard(key)
            answer = await command()
        except (RedisError, OSError, TimeoutError) as error:
            if not self.breaker.is_open:
                logger.warning("cache does not answer", extra={"error": repr(error)})
            self.breaker.failed()
            raise StoreUnavailable from error
        self.breaker.succeeded()
        return answer


def _encode(entry: Entry) -> bytes:
    kind = _ABSENT if entry.value is None else _PRESENT
    return _HEADER.pack(kind, entry.cost, entry.expires_at) + (entry.value or b"")


def _decode(raw: bytes) -> Entry | None:
    if raw[:1] == _TOMBSTONE or len(raw) < _HEADER.size:
        return None
    kind, cost, expires_at = _HEADER.unpack_from(raw)
    return Entry(raw[_HEADER.size :] if kind == _PRESENT else None, cost, expires_at)
