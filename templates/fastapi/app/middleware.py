"""What happens to every request, in one pure ASGI layer around the application.

One layer and no framework class: at a thousand requests a second each wrapper is felt.
"""

import logging
import random
import re
import time
from functools import lru_cache

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import metrics, problems
from app.health import Health
from app.logging import REQUEST_ID

logger = logging.getLogger("app.access")

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Never refused because of load, and not worth a line at each visit."""
BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_BODY_BYTES = 256 * 1024
"""Four times what the largest valid body takes, with every character escaped."""
CLIENT_CLOSED_REQUEST = 499
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestMiddleware:
    """Request id, load shedding, trailing slashes, metrics, the access log, the last resort."""

    def __init__(self, app: ASGIApp, *, health: Health, max_concurrency: int) -> None:
        self._app = app
        self._health = health
        self._max_concurrency = max_concurrency
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        token = REQUEST_ID.set(request_id)
        status = CLIENT_CLOSED_REQUEST

        async def send_head(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id.encode()))
                headers.append((b"x-content-type-options", b"nosniff"))
                if self._health.draining:
                    headers.append((b"connection", b"close"))
            await send(message)

        self._in_flight += 1
        metrics.REQUESTS_IN_FLIGHT.inc()
        try:
            await self._answer(scope, receive, send_head)
        except Exception:
            logger.exception("request failed")
            if status == CLIENT_CLOSED_REQUEST:
                await problems.problem(500)(scope, receive, send_head)
        finally:
            self._in_flight -= 1
            metrics.REQUESTS_IN_FLIGHT.dec()
            self._record(scope, status, time.perf_counter() - started)
            REQUEST_ID.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            # Accepted rather than redirected: not every client sends a POST again.
            path = scope["path"] = path.rstrip("/") or "/"
        if self._in_flight > self._max_concurrency and path not in PROBES:
            metrics.REQUESTS_SHED.inc()
            await problems.overloaded()(scope, receive, send)
        elif scope["method"] in BODYLESS:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, _limit_body(receive), send)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # Routes, not paths: a label value per user id would be a time series per user.
        route: str = getattr(scope.get("route"), "path", "unmatched")
        method: str = scope["method"]
        path: str = scope["path"]
        count, duration = _series(method, route, status)
        count.inc()
        duration.observe(seconds)
        logger.log(
            logging.DEBUG if path in PROBES else logging.INFO,
            "request",
            extra={
                "method": method,
                "path": path,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
            },
        )


@lru_cache(maxsize=4096)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return (
        metrics.REQUESTS.labels(method, route, status),
        metrics.REQUEST_SECONDS.labels(method, route),
    )


def _limit_body(receive: Receive) -> Receive:
    """Counts what arrives rather than trust Content-Length, which a chunked body has not."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"A body may have {MAX_BODY_BYTES} bytes.")
        return message

    return limited


def _request_id(scope: Scope) -> str:
    """The caller's, so that one id follows a request through every service, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return f"{random.getrandbits(128):032x}"  # nosec B311: an id, not a secret
