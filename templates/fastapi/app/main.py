"""The API, built out of its parts."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app import __version__, health, problems
from app.broker import Relay
from app.cache import Cache, Overloaded
from app.db import DatabaseError, open_database, sqlite_path
from app.health import Health
from app.routes import posts, root, users
from app.services import Services
from app.settings import Settings
from app.stores import MemoryStore, NoStore, RedisStore, Store
from app.users import EmailTaken, UserNotFound


def create_app(settings: Settings) -> FastAPI:
    """An application that owns its connections: they open on first use and close at its end."""
    database = open_database(
        settings.database_url, pool_size=settings.db_pool_size, application=settings.instance
    )
    services = Services(
        settings=settings,
        database=database,
        cache=Cache(_store(settings), ttl=settings.cache_ttl_seconds),
        relay=(
            Relay(settings.amqp_url, database, name=settings.instance)
            if settings.amqp_url
            else None
        ),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if services.relay:
            services.relay.start()
        yield
        if services.relay:
            await services.relay.stop()
        await services.cache.close()
        await database.close()

    app = FastAPI(
        title=settings.scalectl_project,
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    app.state.health = Health(database)
    app.include_router(root.router)
    app.include_router(users.router)
    app.include_router(posts.router)
    app.add_route("/health", health.live)
    app.add_route("/ready", health.ready)
    app.add_route("/metrics", health.scrape)
    _add_exception_handlers(app)
    _document_problems(app)
    return app


def _store(settings: Settings) -> Store:
    if settings.redis_url:
        return RedisStore.connect(settings.redis_url, prefix=settings.scalectl_project)
    if settings.database_url.startswith("sqlite"):
        return MemoryStore(sqlite_path(settings.database_url))
    return NoStore()


def _add_exception_handlers(app: FastAPI) -> None:
    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # nosec B101
        return problems.validation_problem(error.errors())

    async def email_taken(_request: Request, _error: Exception) -> Response:
        return problems.problem(409, "Email already registered")

    async def user_not_found(_request: Request, _error: Exception) -> Response:
        return problems.problem(404, "User not found")

    async def overloaded(_request: Request, _error: Exception) -> Response:
        return problems.overloaded()

    async def database_error(_request: Request, error: Exception) -> Response:
        return problems.unavailable(error)

    app.add_exception_handler(HTTPException, problems.http_exception)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(EmailTaken, email_taken)
    app.add_exception_handler(UserNotFound, user_not_found)
    app.add_exception_handler(Overloaded, overloaded)
    for unavailable in (DatabaseError, OSError):
        app.add_exception_handler(unavailable, database_error)
    app.add_exception_handler(Exception, problems.server_error)


def _document_problems(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = problems.SCHEMA
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents it so
