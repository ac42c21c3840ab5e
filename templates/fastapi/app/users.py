"""Users: what a request does to the database."""

from collections import defaultdict
from collections.abc import Sequence

from app import outbox
from app.db import Database, Session, UniqueViolation
from app.models import Post, User, utc_now
from app.passwords import hash_password
from app.schemas import UserCreate, UserUpdate

_INSERT = """
INSERT INTO users (name, email, password_hash, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
RETURNING id, name, email, created_at, updated_at
"""
_SELECT = "SELECT id, name, email, created_at, updated_at FROM users WHERE id = $1"
_PAGE = """
SELECT id, name, email, created_at, updated_at FROM users
WHERE id > $1 ORDER BY id LIMIT $2
"""
# The users of a page are all that lie between its first and its last one.
_POSTS_OF_PAGE = """
SELECT id, user_id, title, body, created_at FROM posts
WHERE user_id BETWEEN $1 AND $2 ORDER BY user_id, id
"""
# What is NULL stays: no column that can be changed may be emptied.
_UPDATE = """
UPDATE users
SET name = coalesce($2, name),
    email = coalesce($3, email),
    password_hash = coalesce($4, password_hash),
    updated_at = $5
WHERE id = $1
RETURNING id, name, email, created_at, updated_at
"""
_DELETE = "DELETE FROM users WHERE id = $1 RETURNING id"


class EmailTaken(Exception):
    """Another user has this address."""


class UserNotFound(Exception):
    """No user has this id."""


async def create(database: Database, fields: UserCreate) -> User:
    """A new user, and in the same transaction the message that will welcome them."""
    # Before the transaction: hashing is slow, and a transaction holds locks.
    password = await _hashed(fields.password)
    try:
        async with database.write() as session:
            values = (fields.name, fields.email, password, utc_now())
            (row,) = await session.fetch(_INSERT, *values)
            user = User.of(row)
            await outbox.add_welcome_email(session, user)
    except UniqueViolation as error:
        raise EmailTaken from error
    return user


async def get(database: Database, user_id: int) -> User | None:
    async with database.read() as session:
        return await find(session, user_id)


async def find(session: Session, user_id: int) -> User | None:
    rows = await session.fetch(_SELECT, user_id)
    return User.of(rows[0]) if rows else None


async def page(database: Database, *, limit: int, after: int) -> Sequence[User]:
    """Users by id."""
    async with database.read() as session:
        return [User.of(row) for row in await session.fetch(_PAGE, after, limit)]


async def page_with_posts(
    database: Database, *, limit: int, after: int
) -> Sequence[tuple[User, Sequence[Post]]]:
    """Users with their posts: two queries, however many users there are."""
    posts: defaultdict[int, list[Post]] = defaultdict(list)
    async with database.read() as session:
        users = [User.of(row) for row in await session.fetch(_PAGE, after, limit)]
        if users:
            for row in await session.fetch(_POSTS_OF_PAGE, users[0].id, users[-1].id):
                post = Post.of(row)
                posts[post.user_id].append(post)
    return [(user, posts[user.id]) for user in users]


async def update(database: Database, user_id: int, changes: UserUpdate) -> User:
    password = await _hashed(changes.password)
    try:
        async with database.write() as session:
            values = (user_id, changes.name, changes.email, password, utc_now())
            rows = await session.fetch(_UPDATE, *values)
    except UniqueViolation as error:
        raise EmailTaken from error
    if not rows:
        raise UserNotFound
    return User.of(rows[0])


async def delete(database: Database, user_id: int) -> None:
    """Delete the user; the database deletes the posts."""
    async with database.write() as session:
        rows = await session.fetch(_DELETE, user_id)
    if not rows:
        raise UserNotFound


async def _hashed(password: str | None) -> str | None:
    return await hash_password(password) if password is not None else None
