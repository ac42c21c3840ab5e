"""Users: what a request does to the database."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app import outbox
from app.db import Database
from app.models import User
from app.passwords import hash_password
from app.schemas import UserCreate, UserUpdate


class EmailTaken(Exception):
    """Another user has this address."""


class UserNotFound(Exception):
    """No user has this id."""


async def create(database: Database, fields: UserCreate) -> User:
    """A new user, and in the same transaction the message that will welcome them."""
    user = User(name=fields.name, email=fields.email)
    if fields.password is not None:
        # Before the transaction: hashing is slow, and a transaction holds locks.
        user.password_hash = await hash_password(fields.password)
    try:
        async with database.write() as session:
            session.add(user)
            await session.flush()
            outbox.add_welcome_email(session, user)
    except IntegrityError as error:
        raise _explain(error) from error
    return user


async def get(database: Database, user_id: int) -> User | None:
    async with database.read() as session:
        return await session.get(User, user_id)


async def page(
    database: Database, *, limit: int, after: int, with_posts: bool = False
) -> Sequence[User]:
    """Users by id; with their posts in one more query, however many users there are."""
    statement = select(User).where(User.id > after).order_by(User.id).limit(limit)
    if with_posts:
        statement = statement.options(selectinload(User.posts))
    async with database.read() as session:
        return (await session.scalars(statement)).all()


async def update(database: Database, user_id: int, changes: UserUpdate) -> User:
    values = changes.model_dump(exclude_unset=True, exclude={"password"})
    if changes.password is not None:
        values["password_hash"] = await hash_password(changes.password)
    try:
        async with database.write() as session:
            user = await _locked(session, user_id)
            for field, value in values.items():
                setattr(user, field, value)
    except IntegrityError as error:
        raise _explain(error) from error
    return user


async def delete(database: Database, user_id: int) -> None:
    """Delete the user; the database deletes the posts."""
    async with database.write() as session:
        await session.delete(await _locked(session, user_id))


async def _locked(session: AsyncSession, user_id: int) -> User:
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise UserNotFound
    return user


def _explain(error: IntegrityError) -> Exception:
    # PostgreSQL names the constraint, SQLite the column.
    text = str(error.orig)
    return EmailTaken() if "users_email_key" in text or "users.email" in text else error
