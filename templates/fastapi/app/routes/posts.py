"""/users/{id}/posts"""

from fastapi import APIRouter

from app import posts
from app.problems import responses
from app.schemas import After, Id, Limit, Page, PostCreate, PostOut
from app.services import ServicesDep

router = APIRouter(prefix="/users/{user_id}/posts", tags=["posts"])


@router.post("", status_code=201, responses=responses(404, 422, 503))
async def create_post(user_id: Id, fields: PostCreate, services: ServicesDep) -> PostOut:
    return PostOut.model_validate(await posts.create(services.database, user_id, fields))


@router.get("", responses=responses(404, 422, 503))
async def list_posts(
    user_id: Id, services: ServicesDep, limit: Limit = 50, after: After = 0
) -> Page[PostOut]:
    """One user's posts by id, a page at a time."""
    found = await posts.page(services.database, user_id, limit=limit, after=after)
    next_after = found[-1].id if len(found) == limit else None
    return Page(items=[PostOut.model_validate(post) for post in found], next_after=next_after)
