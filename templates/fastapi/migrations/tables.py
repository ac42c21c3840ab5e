"""The tables as they are now: what `alembic revision --autogenerate` compares a database with.

The migrations create them; a test compares the two. The service itself speaks SQL and does not
import this.
"""

import sqlalchemy as sa

# SQLite numbers rows only in a column whose type is exactly INTEGER.
ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
INSTANT = sa.DateTime(timezone=True)
OPEN = sa.text("done_at IS NULL AND dead_at IS NULL")
DEAD = sa.text("dead_at IS NOT NULL")

# Constraints get predictable names, so that a later migration can refer to them.
metadata = sa.MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("email", sa.String(320), nullable=False, unique=True),
    sa.Column("password_hash", sa.String(255)),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("updated_at", INSTANT, nullable=False),
    # AUTOINCREMENT: SQLite must not give a deleted user's id (and cache key) to the next one.
    sqlite_autoincrement=True,
)

posts = sa.Table(
    "posts",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    # Serves `WHERE user_id = ? AND id > ? ORDER BY id`, a page of one user's posts.
    sa.Index(None, "user_id", "id"),
    sqlite_autoincrement=True,
)

# A message to send, written in the transaction of the change that it tells of. It is open until
# `done_at` (handed to the broker, or without one handled by the worker) or `dead_at` (given up).
# Whoever works on it holds a lease, so a killed process delays a message and never loses it.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("message_id", sa.String(36), nullable=False, unique=True),
    sa.Column("kind", sa.String(50), nullable=False),
    # No foreign key: a message outlives the row that it is about.
    sa.Column("user_id", ID, nullable=False, index=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("leased_until", INSTANT),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("done_at", INSTANT),
    sa.Column("dead_at", INSTANT),
    # Partial: their size follows what is waiting or given up, not what was ever sent.
    sa.Index("outbox_open_idx", "id", sqlite_where=OPEN, postgresql_where=OPEN),
    sa.Index("outbox_dead_idx", "id", sqlite_where=DEAD, postgresql_where=DEAD),
    sqlite_autoincrement=True,
)

# One row per message id: what makes a redelivery harmless.
sent_emails = sa.Table(
    "sent_emails",
    metadata,
    sa.Column("message_id", sa.String(36), primary_key=True),
    sa.Column("user_id", ID, nullable=False, index=True),
    sa.Column("recipient", sa.String(320), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("sent_at", INSTANT, nullable=False),
)
