"""The tables. Migrations in `migrations/` create them; a test compares the two."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

# SQLite numbers rows only in a column whose type is exactly INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite keeps no time zone, so what it returns is marked as the UTC it is."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if isinstance(value, datetime) and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Constraints get predictable names, so that a later migration can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012  # read once, by the base class


class User(Base):
    __tablename__ = "users"
    # AUTOINCREMENT: SQLite must not give a deleted user's id (and cache key) to the next one.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  # SQLAlchemy's own idiom

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str] = mapped_column(String(320), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    # `raise`: touching the posts of a user that were not loaded is an error, not a hidden query.
    posts: Mapped[list["Post"]] = relationship(
        lazy="raise", passive_deletes=True, order_by="Post.id"
    )


class Post(Base):
    __tablename__ = "posts"
    __table_args__ = (
        # Serves `WHERE user_id = ? AND id > ? ORDER BY id`, a page of one user's posts.
        Index(None, "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class OutboxMessage(Base):
    """A message to send, written in the transaction of the change that it tells of.

    It is open until `done_at` (handed to the broker, or without one handled by the worker) or
    `dead_at` (given up). Whoever works on it holds a lease, so a killed process delays a
    message and never loses it.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        # Partial, and the migration says so: saying it here would make SQLAlchemy load the
        # dialects of both databases, a twentieth of the time that a replica takes to start.
        Index("outbox_open_idx", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    message_id: Mapped[str] = mapped_column(String(36), unique=True, default=lambda: str(uuid4()))
    kind: Mapped[str] = mapped_column(String(50))
    # No foreign keys: a message outlives the row that it is about.
    user_id: Mapped[int] = mapped_column(Id, index=True)
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    leased_until: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    done_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]


class SentEmail(Base):
    """One row per message id: what makes a redelivery harmless."""

    __tablename__ = "sent_emails"

    message_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[int] = mapped_column(Id, index=True)
    recipient: Mapped[str] = mapped_column(String(320))
    subject: Mapped[str] = mapped_column(String(200))
    sent_at: Mapped[datetime] = mapped_column(default=utc_now)
