"""What a request needs, built once per process and handed to the routes."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.broker import Relay
from app.cache import Cache
from app.db import Database
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    cache: Cache
    relay: Relay | None
    """None without a broker: the worker finds its messages in the outbox by itself."""


# A coroutine, though it awaits nothing: FastAPI would send a plain function to a thread.
async def _of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_of)]
