"""`python -m app.migrate`: brings the schema up to date, then exits.

A step of its own, before any replica starts. Several at once are safe: one works under the
database's own lock while the others wait, then find nothing to do.

Alembic keeps the migrations. Importing it takes longer than everything else here together, and
most runs have nothing to do, so the revision is compared first with a bare driver.
"""

import asyncio
import gc
import logging
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.db import sqlite_path
from app.logging import configure
from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
ADVISORY_LOCK = 0x5CA1_EC71
"""Any number, the same in every process that migrates this database."""
DATABASE_PATIENCE = 60.0
"""Seconds to wait for a database that is still starting, or for another migration."""


def main() -> int:
    gc.disable()  # Over before there is garbage worth collecting.
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(settings.log_level, service="migrate", instance=settings.instance)
    started = time.monotonic()
    wanted = head_revision()
    found = _patiently(lambda: current_revision(settings.database_url))
    if found == wanted:
        logger.info("schema is up to date", extra={"revision": wanted})
        return 0
    with_connection(settings.database_url, upgrade)
    logger.info(
        "schema migrated",
        extra={
            "from_revision": found,
            "revision": wanted,
            "duration_ms": round((time.monotonic() - started) * 1000),
        },
    )
    return 0


def head_revision(folder: Path = MIGRATIONS / "versions") -> str:
    """The newest revision, read from the migrations' own first lines."""
    revisions: dict[str, str | None] = {}
    for path in folder.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        names = dict(re.findall(r'^(revision|down_revision)\b[^=]*= "(.*)"', source, re.MULTILINE))
        revisions[names["revision"]] = names.get("down_revision")
    heads = revisions.keys() - revisions.values()
    if len(heads) != 1:
        message = f"{folder}: expected one newest revision, found {sorted(heads)}"
        raise RuntimeError(message)
    return heads.pop()


def current_revision(database_url: str) -> str | None:
    """The revision that the database is at, or None for an empty one."""
    if database_url.startswith("sqlite"):
        return _current_sqlite(sqlite_path(database_url))
    return asyncio.run(_current_postgres(database_url))


def _current_sqlite(path: Path) -> str | None:
    if not path.exists():
        return None
    connection = sqlite3.connect(path, timeout=DATABASE_PATIENCE)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()
    return str(row[0]) if row else None


async def _current_postgres(database_url: str) -> str | None:
    import asyncpg  # noqa: PLC0415  # a driver is imported when its URL asks for it

    from app.postgres import split_url  # noqa: PLC0415

    connection = await asyncpg.connect(split_url(database_url)[0], timeout=5)
    try:
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return str(revision) if revision else None


def with_connection(database_url: str, work: "Callable[[Connection], None]") -> None:
    """Call `work` in a transaction that holds the migration lock."""
    if database_url.startswith("sqlite"):
        path = sqlite_path(database_url)
        path.parent.mkdir(parents=True, exist_ok=True)
        _with_sqlite(path, work)
    else:
        asyncio.run(_with_postgres(database_url, work))


def _with_sqlite(path: Path, work: "Callable[[Connection], None]") -> None:
    from sqlalchemy import URL, create_engine, event  # noqa: PLC0415  # see the module's comment

    def wal(connection: sqlite3.Connection, _entry: object) -> None:
        connection.isolation_level = None
        # The mode is a property of the file, so setting it once, here, is enough.
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))

    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": DATABASE_PATIENCE}
    )
    event.listen(engine, "connect", wal)
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN EXCLUSIVE"))
    with engine.begin() as connection:
        work(connection)
    engine.dispose()


async def _with_postgres(database_url: str, work: "Callable[[Connection], None]") -> None:
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_async_engine(asyncpg_url(database_url), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        # A change that waits for a table's lock makes every query behind it wait as well:
        # better to fail and to be run again.
        await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        await connection.run_sync(work)
    await engine.dispose()


def asyncpg_url(database_url: str) -> "URL":
    """A PostgreSQL URL as SQLAlchemy spells it."""
    from sqlalchemy import make_url  # noqa: PLC0415

    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    # libpq's word, which hosting providers put in their URLs; asyncpg calls it `ssl`.
    tls = {"ssl": url.query["sslmode"]} if "sslmode" in url.query else {}
    # A migration uses each statement once, so how many to keep prepared is of no interest.
    return url.update_query_dict(tls).difference_update_query(["sslmode", "statement_cache_size"])


def upgrade(connection: "Connection") -> None:
    """Apply what is missing."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _patiently(attempt: Callable[[], Result]) -> Result:
    """Repeat `attempt` while the database cannot be reached, or is being prepared by another."""
    deadline = time.monotonic() + DATABASE_PATIENCE
    delay = 0.1
    while True:
        try:
            return attempt()
        except (OSError, sqlite3.OperationalError, TimeoutError) as error:
            if time.monotonic() + delay > deadline:
                raise
            logger.warning("database is not reachable yet", extra={"error": str(error)})
        time.sleep(delay)
        delay = min(delay * 2, 2.0)


if __name__ == "__main__":
    sys.exit(main())
