"""Posts: what a request does to the database."""

from collections.abc import Sequence

from app import users
from app.db import Database, ForeignKeyViolation
from app.models import Post, utc_now
from app.schemas import PostCreate

_INSERT = """
INSERT INTO posts (user_id, title, body, created_at) VALUES ($1, $2, $3, $4)
RETURNING id, user_id, title, body, created_at
"""
_PAGE = """
SELECT id, user_id, title, body, created_at FROM posts
WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""


async def create(database: Database, user_id: int, fields: PostCreate) -> Post:
    try:
        async with database.write() as session:
            values = (user_id, fields.title, fields.body, utc_now())
            (row,) = await session.fetch(_INSERT, *values)
    except ForeignKeyViolation as error:
        raise users.UserNotFound from error
    return Post.of(row)


async def page(database: Database, user_id: int, *, limit: int, after: int) -> Sequence[Post]:
    async with database.read() as session:
        posts = [Post.of(row) for row in await session.fetch(_PAGE, user_id, after, limit)]
        if not posts and await users.find(session, user_id) is None:
            raise users.UserNotFound
        return posts
