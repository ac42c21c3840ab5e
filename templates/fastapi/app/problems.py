"""Errors as problem documents (RFC 9457)."""

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """`type` is left out: "about:blank" is its default, and says that the status says it all."""
    document: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status}
    if detail is not None:
        document["detail"] = detail
    document |= members
    body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)


def unavailable(error: Exception) -> Response:
    """503: something this service needs does not answer; it heals by itself."""
    logger.warning("dependency failed", extra={"error": repr(error)})
    return problem(503, "A dependency does not answer; try again.", headers={"Retry-After": "1"})


def overloaded() -> Response:
    return problem(503, "Too busy right now; try again.", headers={"Retry-After": "1"})


async def http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # nosec B101: what it is registered for
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
    return problem(error.status_code, detail, headers=error.headers)


async def server_error(_request: Request, _error: Exception) -> Response:
    # What went wrong is in the log, under the request id that the client was given.
    return problem(500)


def validation_problem(errors: Iterable[Mapping[str, Any]]) -> Response:
    """422 with one entry per invalid field. Input is not echoed: it may be a password."""
    fields = [
        {"pointer": "/".join(["#", *map(str, item["loc"])]), "detail": str(item["msg"])}
        for item in errors
    ]
    return problem(422, "The request is not valid.", errors=fields)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documents problem answers of a route in OpenAPI."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem document",
    "required": ["title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "default": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
