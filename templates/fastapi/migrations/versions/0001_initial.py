"""Users, posts, the outbox and what has been sent."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
INSTANT = sa.DateTime(timezone=True)
OPEN = sa.text("done_at IS NULL AND dead_at IS NULL")
DEAD = sa.text("dead_at IS NOT NULL")

# On SQLite each replica caches in its own memory. `PRAGMA data_version` tells it *that* another
# connection has written; this log tells *which* users changed. Triggers keep it, so that a
# change made by hand in the sqlite3 shell is seen too. A replica that finds a gap between the
# last change it knows and the oldest of the 10,000 kept drops its whole cache.


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
        sa.UniqueConstraint("email", name="users_email_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "posts",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="posts_pkey"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="posts_user_id_fkey", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("posts_user_id_id_idx", "posts", ["user_id", "id"])
    op.create_table(
        "outbox",
        sa.Column("id", ID, nullable=False),
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("leased_until", INSTANT, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("done_at", INSTANT, nullable=True),
        sa.Column("dead_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="outbox_pkey"),
        sa.UniqueConstraint("message_id", name="outbox_message_id_key"),
        sqlite_autoincrement=True,
    )
    # Partial: their size follows what is waiting or given up, not what was ever sent.
    op.create_index("outbox_open_idx", "outbox", ["id"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index("outbox_dead_idx", "outbox", ["id"], sqlite_where=DEAD, postgresql_where=DEAD)
    op.create_index("outbox_user_id_idx", "outbox", ["user_id"])
    op.create_table(
        "sent_emails",
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("sent_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="sent_emails_pkey"),
    )
    op.create_index("sent_emails_user_id_idx", "sent_emails", ["user_id"])
    if op.get_bind().dialect.name == "sqlite":
        _log_changes_of_users()


def _log_changes_of_users() -> None:
    op.execute(
        "CREATE TABLE user_changes ("
        " version INTEGER PRIMARY KEY AUTOINCREMENT,"
        " user_id INTEGER NOT NULL)"
    )
    # Creating a user changes nothing that is cached but "no such user", which a replica forgets
    # whenever anything was written.
    log_old_id = (
        "BEGIN"
        " INSERT INTO user_changes (user_id) VALUES (old.id);"
        " DELETE FROM user_changes WHERE version <= last_insert_rowid() - 10000;"
        " END"
    )
    op.execute(f"CREATE TRIGGER users_log_update AFTER UPDATE ON users {log_old_id}")
    op.execute(f"CREATE TRIGGER users_log_delete AFTER DELETE ON users {log_old_id}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("user_changes")
    for table in ("sent_emails", "outbox", "posts", "users"):
        op.drop_table(table)
