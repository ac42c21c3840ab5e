"""GET /users/{id} out of this replica's memory, in front of the framework.

Routing, dependencies and error handling take ten times as long as finding such an answer, and
most requests are these. What is not in memory goes on to the route, which alone defines what is
right: this can only repeat answers that it gave.
"""

import re
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from app.cache import Cache

_USER = re.compile("/users/([1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class _Route:
    path: str


_ROUTE = _Route("/users/{user_id}")
"""What the framework would say of it, for the log and the metrics."""


class Shortcut:
    def __init__(self, app: ASGIApp, *, cache: Cache) -> None:
        self._app = app
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            match = _USER.fullmatch(scope["path"])
            if match and (body := self._cache.peek(int(match[1]))) is not None:
                scope["route"] = _ROUTE
                headers = [
                    (b"content-length", b"%d" % len(body)),
                    (b"content-type", b"application/json"),
                ]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)
