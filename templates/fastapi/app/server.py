"""The HTTP server, and the order in which a process ends.

uvicorn closes its listeners first and runs the end of the lifespan last. A balancer needs to
look elsewhere before that, so on SIGTERM or SIGINT this one goes through

    not ready → SHUTDOWN_DELAY → stop accepting → finish requests → end of the lifespan

and the lifespan's end stops consumers, flushes and closes connections, in that order.
"""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from app.health import Health
from app.settings import Settings

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Above the idle time of the balancer's connections (nginx: 60 s). The side that closes an idle
connection must be the one that would reuse it, or a request meets a closing connection."""
FINISH_SECONDS = 25
"""What requests may still take; Kubernetes kills 30 s after SIGTERM."""


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, *, health: Health, delay: float) -> None:
        super().__init__(config)
        self._health = health
        self._delay = delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember that it was asked for; a second time, leave without waiting.

        uvicorn would raise the signal again at the end; having ended in order is a success.
        """
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._health.draining = True
        logger.info("shutting down", extra={"delay_seconds": self._delay})
        if not self.force_exit:
            await asyncio.sleep(self._delay)
        await super().shutdown(sockets)
        logger.info("stopped")


def serve(app: ASGIApp, settings: Settings, health: Health) -> None:
    """Answer until told to end."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    Server(config, health=health, delay=settings.shutdown_delay).run()
