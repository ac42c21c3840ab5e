"""/users"""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app import users
from app.models import User
from app.problems import responses
from app.schemas import After, Id, Limit, Page, UserCreate, UserOut, UserUpdate, UserWithPosts
from app.services import ServicesDep

router = APIRouter(prefix="/users", tags=["users"])


def _json(user: object) -> bytes:
    return UserOut.model_validate(user).model_dump_json().encode()


def _response(body: bytes, status: int = 200, location: str | None = None) -> Response:
    headers = {"Location": location} if location else None
    return Response(body, status, headers, "application/json")


@router.post("", status_code=201, response_model=UserOut, responses=responses(409, 422, 503))
async def create_user(fields: UserCreate, services: ServicesDep) -> Response:
    """Create a user; the worker will send a welcome e-mail."""
    user = await users.create(services.database, fields)
    body = _json(user)
    if services.relay:
        services.relay.wake()
    await services.cache.created(user.id, body)
    return _response(body, 201, f"/users/{user.id}")


@router.get("/{user_id}", response_model=UserOut, responses=responses(404, 422, 503))
async def read_user(user_id: Id, services: ServicesDep) -> Response:
    """One user, through the cache."""

    async def load() -> bytes | None:
        user = await users.get(services.database, user_id)
        return _json(user) if user is not None else None

    body = await services.cache.get(user_id, load)
    if body is None:
        raise users.UserNotFound
    return _response(body)


@router.get("", response_model=Page[UserOut] | Page[UserWithPosts], responses=responses(422, 503))
async def list_users(
    services: ServicesDep,
    limit: Limit = 50,
    after: After = 0,
    include: Annotated[
        Literal["posts"] | None, Query(description="`posts`: load every user's posts as well.")
    ] = None,
) -> Response:
    """Users by id, a page at a time."""
    page: BaseModel
    if include is None:
        found = await users.page(services.database, limit=limit, after=after)
        page = Page(
            items=[UserOut.model_validate(u) for u in found], next_after=_next(found, limit)
        )
    else:
        rows = await users.page_with_posts(services.database, limit=limit, after=after)
        page = Page(
            items=[UserWithPosts.of(user, posts) for user, posts in rows],
            next_after=_next([user for user, _ in rows], limit),
        )
    return _response(page.model_dump_json().encode())


def _next(found: Sequence[User], limit: int) -> int | None:
    # A full page may be the last one all the same; then the next one is empty.
    return found[-1].id if len(found) == limit else None


@router.patch("/{user_id}", response_model=UserOut, responses=responses(404, 409, 422, 503))
async def update_user(user_id: Id, changes: UserUpdate, services: ServicesDep) -> Response:
    """Change the fields that are sent."""
    async with services.cache.change(user_id):
        user = await users.update(services.database, user_id, changes)
    return _response(_json(user))


@router.delete("/{user_id}", status_code=204, responses=responses(404, 422, 503))
async def delete_user(user_id: Id, services: ServicesDep) -> None:
    """Delete a user and their posts."""
    async with services.cache.change(user_id):
        await users.delete(services.database, user_id)
