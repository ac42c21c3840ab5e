"""The transactional outbox (https://microservices.io/patterns/data/transactional-outbox.html).

`add` writes a message in the transaction of the change that it tells of, so both exist or
neither does. Later somebody claims open messages under a lease, works on them, and settles
them: the relay, which hands them to the broker, or without a broker the worker itself.
A process that dies in between lets its lease run out, and another takes over; whatever that
does twice is caught by the message id.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from uuid import uuid4

from app.db import Database, Session
from app.models import OutboxMessage, User, instant, utc_now

WELCOME_EMAIL = "welcome_email"

LEASE = timedelta(seconds=10)
"""How long a killed process can delay its messages; far above what working on a batch takes."""
MAX_FAILURES = 10
RETENTION = timedelta(days=7)
"""How long settled messages are kept, for people who ask what happened."""

_INSERT = """
INSERT INTO outbox (message_id, kind, user_id, payload, created_at, failures)
VALUES ($1, $2, $3, $4, $5, 0)
"""
_PEEK = """
SELECT 1 FROM outbox
WHERE done_at IS NULL AND dead_at IS NULL AND (leased_until IS NULL OR leased_until < $1)
LIMIT 1
"""
_CLAIM = """
UPDATE outbox SET leased_until = $2 WHERE id IN (
    SELECT id FROM outbox
    WHERE done_at IS NULL AND dead_at IS NULL AND (leased_until IS NULL OR leased_until < $1)
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING id, message_id, kind, payload, failures
"""
_SETTLE = "UPDATE outbox SET done_at = $2 WHERE id = $1 AND done_at IS NULL"
_FAIL = """
UPDATE outbox SET failures = $2, last_error = $3, leased_until = $4, dead_at = $5 WHERE id = $1
"""
_RELEASE = """
UPDATE outbox SET leased_until = NULL WHERE id = $1 AND done_at IS NULL AND dead_at IS NULL
"""
_PRUNE = "DELETE FROM outbox WHERE done_at < $1"
_BACKLOG = """
SELECT count(*), min(created_at), (SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL)
FROM outbox WHERE done_at IS NULL AND dead_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Message:
    """What travels: an id that stays the same however often it is delivered, and the facts."""

    message_id: str
    kind: str
    user_id: int
    recipient: str
    name: str

    def to_json(self) -> str:
        return json.dumps(
            {
                "message_id": self.message_id,
                "kind": self.kind,
                "user_id": self.user_id,
                "recipient": self.recipient,
                "name": self.name,
            }
        )

    @classmethod
    def from_json(cls, body: str | bytes) -> Self:
        """Raises ValueError for anything that `to_json` did not write."""
        try:
            fields = json.loads(body)
            message = cls(**fields)
        except (ValueError, TypeError) as error:
            raise ValueError(f"not a message of ours: {error}") from error
        types = [type(value) for value in fields.values()]
        if types.count(str) != len(types) - 1 or not isinstance(message.user_id, int):
            raise ValueError("not a message of ours: a field has the wrong type")
        return message


async def add_welcome_email(session: Session, user: User) -> None:
    message_id = str(uuid4())
    message = Message(message_id, WELCOME_EMAIL, user.id, recipient=user.email, name=user.name)
    values = (message_id, WELCOME_EMAIL, user.id, message.to_json(), user.created_at)
    await session.fetch(_INSERT, *values)


async def claim(database: Database, limit: int) -> Sequence[OutboxMessage]:
    """Up to `limit` open messages, oldest first, leased to the caller."""
    async with database.read() as session:
        # Looking costs no lock, and mostly there is nothing to do.
        if not await session.fetch(_PEEK, utc_now()):
            return []
    async with database.write() as session:
        now = utc_now()
        rows = await session.fetch(_CLAIM, now, now + LEASE, limit)
    return sorted(map(OutboxMessage.of, rows), key=lambda message: message.id)


async def settle(session: Session, ids: Iterable[int]) -> None:
    """Nothing more is to be done about these messages."""
    now = utc_now()
    await session.run_many(_SETTLE, [(message, now) for message in ids])


async def fail(session: Session, message: OutboxMessage, reason: str, *, poison: bool) -> None:
    """Put a message off, or give it up when it can never work or has failed too often."""
    now = utc_now()
    failures = message.failures + 1
    dead_at = now if poison or failures >= MAX_FAILURES else None
    retry_at = now + timedelta(seconds=min(2**failures, 300))
    await session.fetch(_FAIL, message.id, failures, reason[:1000], retry_at, dead_at)


async def release(database: Database, ids: Iterable[int]) -> None:
    """Give leases back early, for another to go on at once."""
    async with database.write() as session:
        await session.run_many(_RELEASE, [(message,) for message in ids])


async def prune(database: Database) -> None:
    async with database.write() as session:
        await session.fetch(_PRUNE, utc_now() - RETENTION)


@dataclass(frozen=True, slots=True)
class Backlog:
    open: int
    dead: int
    oldest_seconds: float
    """Age of the oldest open message, 0 when there is none."""


async def backlog(database: Database) -> Backlog:
    async with database.read() as session:
        ((count, oldest, dead),) = await session.fetch(_BACKLOG)
    age = (utc_now() - instant(oldest)).total_seconds() if oldest else 0.0
    return Backlog(open=count, dead=dead, oldest_seconds=max(age, 0.0))
