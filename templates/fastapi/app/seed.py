"""`python -m app.seed --users 10000`: example data, the same however often it is run.

Users get the ids 1 to N where those are free. Nobody asked to be welcomed here, so no e-mails.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import Database, insert_or_ignore
from app.logging import configure
from app.models import Post, User, utc_now
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Rows per statement; three values each stay far below the parameters that a statement may have."""
POSTS_PER_USER = 2

_FIRST = ("Ada", "Alan", "Barbara", "Dennis", "Edsger", "Frances", "Grace", "Ken", "Leslie", "Tony")
_LAST = (
    "Allen",
    "Dijkstra",
    "Hoare",
    "Hopper",
    "Lamport",
    "Liskov",
    "Lovelace",
    "Ritchie",
    "Turing",
)


def _user(number: int) -> dict[str, Any]:
    now = utc_now()
    return {
        "id": number,
        "name": f"{_FIRST[number % len(_FIRST)]} {_LAST[number % len(_LAST)]}",
        "email": f"seed-{number}@example.com",
        "created_at": now,
        "updated_at": now,
    }


def _posts(user_id: int) -> Iterator[dict[str, Any]]:
    for number in range(1, POSTS_PER_USER + 1):
        yield {
            "user_id": user_id,
            "title": f"Post {number} of user {user_id}",
            "body": "An example.",
            "created_at": utc_now(),
        }


async def seed(database: Database, users: int) -> int:
    """Make sure that users 1 to `users` exist; how many were missing."""
    if not database.is_sqlite:
        await _reserve_ids(database, users)
    added = 0
    for first in range(1, users + 1, CHUNK):
        numbers = range(first, min(first + CHUNK, users + 1))
        # A transaction per chunk: replicas that serve meanwhile get their turn at writing.
        async with database.write() as session:
            new = await _insert_missing(session, [_user(number) for number in numbers])
            if new:
                await session.execute(insert(Post), [post for i in new for post in _posts(i)])
        added += len(new)
    return added


async def _insert_missing(session: AsyncSession, rows: list[dict[str, Any]]) -> list[int]:
    statement = insert_or_ignore(session, User).values(rows).returning(User.id)
    return list((await session.scalars(statement)).all())


async def _reserve_ids(database: Database, users: int) -> None:
    """Let PostgreSQL number new users from `users` + 1 on (SQLite does so by itself)."""
    async with database.write() as session:
        await session.execute(
            text(
                "SELECT setval(sequence, greatest(:users, (SELECT last_value FROM users_id_seq)))"
                " FROM pg_get_serial_sequence('users', 'id') AS sequence"
            ),
            {"users": users},
        )


async def _run(settings: Settings, users: int) -> None:
    database = Database(settings.database_url, pool_size=1, application="seed")
    started = time.monotonic()
    try:
        added = await seed(database, users)
    finally:
        await database.close()
    logger.info(
        "seeded",
        extra={
            "users": users,
            "added": added,
            "duration_ms": round((time.monotonic() - started) * 1000),
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m app.seed", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, metavar="N")
    options = parser.parse_args()
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(settings.log_level, service="seed", instance=settings.instance)
    asyncio.run(_run(settings, options.users))
    return 0


if __name__ == "__main__":
    sys.exit(main())
