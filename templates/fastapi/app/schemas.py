"""What crosses the wire. FastAPI derives validation and the OpenAPI document from it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Path, Query
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.models import Post, User

Item = TypeVar("Item")

# The largest integer that every JSON reader keeps exactly (JavaScript's doubles).
MAX_ID = 2**53 - 1

Id = Annotated[int, Path(ge=1, le=MAX_ID)]
After = Annotated[int, Query(ge=0, le=MAX_ID, description="The last id of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items per page.")]

# No control characters: PostgreSQL cannot store NUL, and the rest only harms logs and mails.
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
# Whether an address exists only a message to it shows; this refuses what cannot be one.
_EMAIL = r"^[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f]+(\.[^\s@.\x00-\x1f\x7f]+)+$"

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_PRINTABLE),
]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=320, pattern=_EMAIL),
    Field(json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]
Password = Annotated[str, StringConstraints(min_length=8, max_length=128)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]


class Input(BaseModel):
    """A request's body: a misspelt field is an error, not a silent nothing."""

    model_config = ConfigDict(extra="forbid")


class UserCreate(Input):
    name: Name
    email: Email
    password: Password | None = None


def _not_null(value: object) -> object:
    if value is None:
        raise ValueError("leave the field out to keep its value")
    return value


NotNull = BeforeValidator(_not_null)


class UserUpdate(Input):
    """Only the fields that are sent change."""

    name: Annotated[Name | None, NotNull] = None
    email: Annotated[Email | None, NotNull] = None
    password: Annotated[Password | None, NotNull] = None

    @model_validator(mode="after")
    def changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("send at least one field to change")
        return self


class PostCreate(Input):
    title: Name
    body: Text = ""


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class UserOut(Output):
    id: int
    name: str
    email: str
    created_at: datetime
    updated_at: datetime


class PostOut(Output):
    id: int
    user_id: int
    title: str
    body: str
    created_at: datetime


class UserWithPosts(UserOut):
    posts: list[PostOut]

    @classmethod
    def of(cls, user: User, posts: Sequence[Post]) -> Self:
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            created_at=user.created_at,
            updated_at=user.updated_at,
            posts=[PostOut.model_validate(post) for post in posts],
        )


class Page(BaseModel, Generic[Item]):
    """A page by keyset: as fast for the millionth item as for the first."""

    items: list[Item]
    next_after: int | None = Field(
        default=None, description="Pass as `after` for the next page; null on the last one."
    )


class Greeting(BaseModel):
    message: str
    service: str
    version: str
    instance: str


class Health(BaseModel):
    status: str
