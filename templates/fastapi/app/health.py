"""Liveness, readiness and metrics: the same for the API and the worker."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app import metrics
from app.db import Database
from app.problems import problem

logger = logging.getLogger(__name__)

CHECK_TIMEOUT = 2.0
ANSWER_LIFETIME = 1.0
"""Seconds for which one look at the database answers everybody who asks."""


@dataclass
class Health:
    """Whether this process can do its work."""

    database: Database
    draining: bool = False
    """Set at the start of the shutdown, so that balancers look elsewhere."""
    _checked_at: float = float("-inf")
    _reason: str | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def why_not_ready(self) -> str | None:
        """None when ready. The cache and the broker do not count: without them it goes on."""
        if self.draining:
            return "shutting down"
        async with self._lock:
            # A database that has just served a request needs no extra question.
            answered_at = max(self._checked_at, self.database.last_success)
            if time.monotonic() - answered_at >= ANSWER_LIFETIME:
                self._reason = await self._check()
                self._checked_at = time.monotonic()
            elif self.database.last_success > self._checked_at:
                self._reason = None
        metrics.DB_UP.set(self._reason is None)
        return self._reason

    async def _check(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT), self.database.read() as session:
                # A real table, so that a database without the schema is not ready.
                await session.fetch("SELECT id FROM users LIMIT 1")
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
            logger.warning("database does not answer", extra={"error": repr(error)})
            return "database does not answer"
        return None


async def live(_request: Request) -> Response:
    """Consults nothing: restarting this process would not repair what it depends on."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    health: Health = request.app.state.health
    if reason := await health.why_not_ready():
        return problem(503, reason, headers={"Retry-After": "1"})
    return JSONResponse({"status": "ready"})


async def scrape(request: Request) -> Response:
    health: Health = request.app.state.health
    await health.why_not_ready()  # for its gauge
    used, idle = health.database.connections()
    metrics.DB_CONNECTIONS.labels("used").set(used)
    metrics.DB_CONNECTIONS.labels("idle").set(idle)
    return Response(metrics.generate_latest(), media_type=metrics.CONTENT_TYPE_LATEST)
