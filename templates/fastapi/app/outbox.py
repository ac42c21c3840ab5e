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

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import Database
from app.models import OutboxMessage, User, utc_now

WELCOME_EMAIL = "welcome_email"

LEASE = timedelta(seconds=10)
"""How long a killed process can delay its messages; far above what working on a batch takes."""
MAX_FAILURES = 10
RETENTION = timedelta(days=7)
"""How long settled messages are kept, for people who ask what happened."""


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


def add_welcome_email(session: AsyncSession, user: User) -> None:
    row = OutboxMessage(kind=WELCOME_EMAIL, user_id=user.id)
    row.message_id = str(uuid4())
    row.payload = Message(
        row.message_id, WELCOME_EMAIL, user.id, recipient=user.email, name=user.name
    ).to_json()
    session.add(row)


def _open() -> ColumnElement[bool]:
    return OutboxMessage.done_at.is_(None) & OutboxMessage.dead_at.is_(None)


def _free() -> ColumnElement[bool]:
    return or_(OutboxMessage.leased_until.is_(None), OutboxMessage.leased_until < utc_now())


async def claim(database: Database, limit: int) -> Sequence[OutboxMessage]:
    """Up to `limit` open messages, oldest first, leased to the caller."""
    candidates = select(OutboxMessage.id).where(_open(), _free()).order_by(OutboxMessage.id)
    async with database.read() as session:
        # Looking costs no lock, and mostly there is nothing to do.
        if await session.scalar(candidates.limit(1)) is None:
            return []
    chosen = candidates.limit(limit).with_for_update(skip_locked=True)
    async with database.write() as session:
        rows = await session.scalars(
            update(OutboxMessage)
            .where(OutboxMessage.id.in_(chosen.scalar_subquery()))
            .values(leased_until=utc_now() + LEASE)
            .returning(OutboxMessage),
            execution_options={"synchronize_session": False},
        )
        return sorted(rows, key=lambda row: row.id)


async def settle(session: AsyncSession, ids: Iterable[int]) -> None:
    """Nothing more is to be done about these messages."""
    await session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.id.in_(ids), OutboxMessage.done_at.is_(None))
        .values(done_at=utc_now()),
        execution_options={"synchronize_session": False},
    )


async def fail(session: AsyncSession, message: OutboxMessage, reason: str, *, poison: bool) -> None:
    """Put a message off, or give it up when it can never work or has failed too often."""
    failures = message.failures + 1
    dead = poison or failures >= MAX_FAILURES
    await session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.id == message.id)
        .values(
            failures=failures,
            last_error=reason[:1000],
            leased_until=utc_now() + timedelta(seconds=min(2**failures, 300)),
            dead_at=utc_now() if dead else None,
        ),
        execution_options={"synchronize_session": False},
    )


async def release(database: Database, ids: Iterable[int]) -> None:
    """Give leases back early, for another to go on at once."""
    async with database.write() as session:
        await session.execute(
            update(OutboxMessage)
            .where(OutboxMessage.id.in_(ids), _open())
            .values(leased_until=None),
            execution_options={"synchronize_session": False},
        )


async def prune(database: Database) -> None:
    async with database.write() as session:
        await session.execute(
            delete(OutboxMessage).where(OutboxMessage.done_at < utc_now() - RETENTION)
        )


@dataclass(frozen=True, slots=True)
class Backlog:
    open: int
    dead: int
    oldest_seconds: float
    """Age of the oldest open message, 0 when there is none."""


async def backlog(database: Database) -> Backlog:
    async with database.read() as session:
        count, oldest = (
            await session.execute(
                select(func.count(), func.min(OutboxMessage.created_at)).where(_open())
            )
        ).one()
        dead = await session.scalar(select(func.count()).where(OutboxMessage.dead_at.is_not(None)))
    age = (utc_now() - oldest).total_seconds() if oldest else 0.0
    return Backlog(open=count, dead=dead or 0, oldest_seconds=max(age, 0.0))
