"""Posts: what a request does to the database."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db import Database
from app.models import Post, User
from app.schemas import PostCreate
from app.users import UserNotFound


async def create(database: Database, user_id: int, fields: PostCreate) -> Post:
    post = Post(user_id=user_id, title=fields.title, body=fields.body)
    try:
        async with database.write() as session:
            session.add(post)
    except IntegrityError as error:
        # The foreign key is the only constraint that a validated post can break.
        raise UserNotFound from error
    return post


async def page(database: Database, user_id: int, *, limit: int, after: int) -> Sequence[Post]:
    statement = (
        select(Post).where(Post.user_id == user_id, Post.id > after).order_by(Post.id).limit(limit)
    )
    async with database.read() as session:
        posts = (await session.scalars(statement)).all()
        if not posts and await session.get(User, user_id) is None:
            raise UserNotFound
        return posts
