"""`python -m app.seed --users 10000`: example data, the same however often it is run.

Users get the ids 1 to N where those are free. Nobody asked to be welcomed here, so no e-mails.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Iterator

from app.db import Database, Session, open_database, placeholders
from app.logging import configure
from app.models import utc_now
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Rows per statement; four values each stay far below the parameters that a statement may have."""
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


_INSERT_POST = "INSERT INTO posts (user_id, title, body, created_at) VALUES ($1, $2, $3, $4)"
# Lets PostgreSQL number new users from $1 + 1 on.
_RESERVE_IDS = """
SELECT setval(sequence, greatest($1, (SELECT last_value FROM users_id_seq)))
FROM pg_get_serial_sequence('users', 'id') AS sequence
"""


def _user(number: int) -> tuple[object, ...]:
    name = f"{_FIRST[number % len(_FIRST)]} {_LAST[number % len(_LAST)]}"
    now = utc_now()
    return number, name, f"seed-{number}@example.com", now, now


def _posts(user_id: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, POSTS_PER_USER + 1):
        yield user_id, f"Post {number} of user {user_id}", "An example.", utc_now()


async def seed(database: Database, users: int, *, reserve_ids: bool) -> int:
    """Make sure that users 1 to `users` exist; how many were missing."""
    if reserve_ids:
        async with database.write() as session:
            await session.fetch(_RESERVE_IDS, users)
    added = 0
    for first in range(1, users + 1, CHUNK):
        numbers = range(first, min(first + CHUNK, users + 1))
        # A transaction per chunk: replicas that serve meanwhile get their turn at writing.
        async with database.write() as session:
            new = await _insert_missing(session, [_user(number) for number in numbers])
            await session.run_many(_INSERT_POST, [post for i in new for post in _posts(i)])
        added += len(new)
    return added


async def _insert_missing(session: Session, users: list[tuple[object, ...]]) -> list[int]:
    places = placeholders(len(users), len(users[0]))
    statement = (
        "INSERT INTO users (id, name, email, created_at, updated_at)"  # noqa: S608  # nosec B608
        f" VALUES {places} ON CONFLICT DO NOTHING RETURNING id"  # places only, no values
    )
    rows = await session.fetch(statement, *(value for user in users for value in user))
    return [row[0] for row in rows]


async def _run(settings: Settings, users: int) -> None:
    database = open_database(settings.database_url, pool_size=1, application="seed")
    # SQLite goes on from the highest id by itself.
    reserve_ids = not settings.database_url.startswith("sqlite")
    started = time.monotonic()
    try:
        added = await seed(database, users, reserve_ids=reserve_ids)
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
