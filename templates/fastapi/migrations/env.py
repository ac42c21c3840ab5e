"""Alembic's entry point: runs the migrations on the connection that `app.migrate` hands over.

On the command line (`alembic revision --autogenerate`) there is none yet, so `app.migrate`
opens one.
"""

from alembic import context
from sqlalchemy import Connection, MetaData

from app import migrate
from app.settings import Settings


def run(connection: Connection, metadata: MetaData | None = None) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite alters a table by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is None:
    # The tables are needed to compare with, not to migrate.
    from migrations.tables import metadata

    migrate.with_connection(Settings.load().database_url, lambda c: run(c, metadata))
else:
    run(handed_over)
