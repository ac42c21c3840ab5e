"""`python -m app.worker`: sends the e-mails, and answers /health, /ready and /metrics.

With a broker it consumes the queue (and relays, should no API replica do it); without one the
outbox itself is the queue.
"""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import health, mailer, metrics, outbox, problems
from app.broker import Consumer, Relay
from app.db import Database, DatabaseError, open_database
from app.health import Health
from app.logging import configure
from app.middleware import RequestMiddleware
from app.models import OutboxMessage
from app.outbox import Message
from app.server import serve
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How long a message may lie in the outbox before a worker that keeps up sees it."""
BATCH = 200
BACKOFF_SECONDS = (0.5, 10.0)
BACKLOG_SECONDS = 5.0
PRUNE_SECONDS = 3600.0


class OutboxConsumer:
    """Without a broker: takes messages out of the outbox itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        delay, longest = BACKOFF_SECONDS
        while not self._stopping.is_set():
            pause = POLL_SECONDS
            try:
                handled = await self.work_once()
                delay = BACKOFF_SECONDS[0]
                if handled == BATCH:
                    continue
                # Less than a batch was waiting: pausing lets a few messages share the next
                # transaction, and writers have the database to themselves meanwhile.
            except Exception as error:  # noqa: BLE001  # mostly the database; it comes back
                logger.warning("outbox cannot be read", extra={"error": repr(error)})
                pause, delay = delay, min(delay * 2, longest)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def work_once(self) -> int:
        """Handle a batch; how many messages it had."""
        rows = await outbox.claim(self._database, BATCH)
        if not rows:
            return 0
        try:
            await self._handle(rows)
        except DatabaseError:
            raise
        except Exception:  # noqa: BLE001  # one of them is to blame: find it
            for row in rows:
                await self._handle_alone(row)
        return len(rows)

    async def _handle(self, rows: Sequence[OutboxMessage]) -> None:
        # Sent and settled in one transaction: there is no instant at which only one is true.
        async with self._database.write() as session:
            sent = [await mailer.deliver(session, Message.from_json(row.payload)) for row in rows]
            await outbox.settle(session, [row.id for row in rows])
        metrics.EMAILS_SENT.inc(sum(sent))
        metrics.EMAILS_DUPLICATE.inc(len(sent) - sum(sent))

    async def _handle_alone(self, row: OutboxMessage) -> None:
        try:
            await self._handle([row])
        except DatabaseError:
            raise
        except Exception as error:
            logger.exception("message failed", extra={"message_id": row.message_id})
            metrics.EMAILS_FAILED.inc()
            async with self._database.write() as session:
                poison = isinstance(error, ValueError)
                await outbox.fail(session, row, repr(error), poison=poison)


async def _deliver_from_broker(database: Database, body: bytes) -> None:
    message = Message.from_json(body)
    async with database.write() as session:
        sent = await mailer.deliver(session, message)
    (metrics.EMAILS_SENT if sent else metrics.EMAILS_DUPLICATE).inc()


async def _housekeeping(database: Database) -> None:
    """Keeps the backlog's gauges fresh and the outbox short."""
    rounds = 0
    while True:
        try:
            if rounds % (PRUNE_SECONDS // BACKLOG_SECONDS) == 0:
                await outbox.prune(database)
            backlog = await outbox.backlog(database)
            metrics.OUTBOX_OPEN.set(backlog.open)
            metrics.OUTBOX_DEAD.set(backlog.dead)
            metrics.OUTBOX_OLDEST_SECONDS.set(backlog.oldest_seconds)
        except Exception as error:  # noqa: BLE001  # readiness tells; this goes on
            logger.warning("backlog cannot be read", extra={"error": repr(error)})
        rounds += 1
        await asyncio.sleep(BACKLOG_SECONDS)


def create_app(settings: Settings) -> Starlette:
    database = open_database(
        settings.database_url,
        pool_size=settings.db_pool_size,
        application=settings.instance,
        keeps_house=True,
    )
    consumer: Consumer | OutboxConsumer
    relay: Relay | None = None
    if settings.amqp_url:
        relay = Relay(settings.amqp_url, database, name=settings.instance)
        consumer = Consumer(settings.amqp_url, lambda body: _deliver_from_broker(database, body))
    else:
        consumer = OutboxConsumer(database)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        consumer.start()
        if relay:
            relay.start()
        housekeeping = asyncio.create_task(_housekeeping(database))
        yield
        housekeeping.cancel()
        await consumer.stop()
        if relay:
            await relay.stop()
        await database.close()

    app = Starlette(
        routes=[
            Route("/health", health.live),
            Route("/ready", health.ready),
            Route("/metrics", health.scrape),
        ],
        exception_handlers={
            HTTPException: problems.http_exception,
            Exception: problems.server_error,
        },
        lifespan=lifespan,
    )
    app.state.health = Health(database)
    return app


def main() -> int:
    gc.disable()
    try:
        settings = Settings.load(port=8001)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(
        settings.log_level,
        service=settings.scalectl_service or "worker",
        instance=settings.instance,
    )
    app = create_app(settings)
    # What is there now stays for good: no need to look for garbage in it.
    gc.freeze()
    gc.enable()
    own_health = app.state.health
    wrapped = RequestMiddleware(app, health=own_health, max_concurrency=settings.max_concurrency)
    serve(wrapped, settings, own_health)
    return 0


if __name__ == "__main__":
    sys.exit(main())
