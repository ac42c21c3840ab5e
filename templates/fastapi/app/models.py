"""Rows, as the rest of the service sees them. The tables themselves: `migrations/tables.py`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from app.db import Row


def utc_now() -> datetime:
    return datetime.now(UTC)


def instant(value: datetime | str) -> datetime:
    """PostgreSQL returns an instant as one; SQLite keeps text without a zone, which is UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class User:
    """Without the password's hash, so that nothing can show it by accident."""

    id: int
    name: str
    email: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        """From a row of its columns in this order."""
        user_id, name, email, created_at, updated_at = row
        return cls(user_id, name, email, instant(created_at), instant(updated_at))


@dataclass(frozen=True, slots=True)
class Post:
    id: int
    user_id: int
    title: str
    body: str
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        post_id, user_id, title, body, created_at = row
        return cls(post_id, user_id, title, body, instant(created_at))


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """What working on a message needs; the table keeps more for people who ask."""

    id: int
    message_id: str
    kind: str
    payload: str
    failures: int

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(*row)
