"""RabbitMQ: the relay that fills the queue and the consumer that empties it.

Both own one connection at a time and a loop that makes a new one, with back-off, whenever
anything about it fails. That is easier to reason about than a connection that repairs itself:
after every failure topology, channel and consumer are set up from nothing.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from app import metrics, outbox
from app.db import Database
from app.models import OutboxMessage

if TYPE_CHECKING:
    from aio_pika.abc import (
        AbstractChannel,
        AbstractConnection,
        AbstractIncomingMessage,
        AbstractQueue,
    )

logger = logging.getLogger(__name__)

QUEUE = "email_queue"
DEAD_LETTER_QUEUE = "email_queue.dead"
# The same for RabbitMQ 3.10 and 4.x: durable quorum queues, which survive the broker. Messages
# move to the dead-letter queue with a confirm of their own ("at-least-once"), so that not even
# a poison message is lost; that strategy asks for the overflow policy beside it.
QUEUE_ARGUMENTS: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD_LETTER_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    # High, for every kill of a worker counts as a delivery; poison is rejected at first sight.
    "x-delivery-limit": 50,
}

BATCH = 100
PREFETCH = 100
SWEEP_SECONDS = 2.0
"""How often a relay looks for messages that nobody woke it for."""
CONFIRM_SECONDS = 10.0
BACKOFF_SECONDS = (0.2, 5.0)


class Relay:
    """Publishes what the outbox holds. Any number may run at once: claims keep them apart."""

    def __init__(self, url: str, database: Database, *, name: str) -> None:
        self._database = database
        self._woken = asyncio.Event()
        self._draining = False
        self._loop = _ConnectionLoop(f"{name} relay", url, self._publish_until_drained)

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """There is something to publish."""
        self._woken.set()

    async def stop(self, patience: float = 5.0) -> None:
        """Publish what is open, for `patience` seconds at most; the rest is another's to do."""
        self._draining = True
        self.wake()
        await self._loop.end(patience)

    async def _publish_until_drained(self, connection: "AbstractConnection") -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await declare(channel)
        while True:
            self._woken.clear()
            while rows := await outbox.claim(self._database, BATCH):
                await self._publish(channel, rows)
            if self._draining:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), SWEEP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
            if connection.is_closed:
                raise ConnectionError("connection to the broker is closed")

    async def _publish(self, channel: "AbstractChannel", rows: Sequence[OutboxMessage]) -> None:
        outcomes = await asyncio.gather(
            *(_publish_one(channel, row) for row in rows), return_exceptions=True
        )
        confirmed = [row.id for row, outcome in zip(rows, outcomes, strict=True) if outcome is None]
        if confirmed:
            async with self._database.write() as session:
                await outbox.settle(session, confirmed)
            metrics.OUTBOX_PUBLISHED.inc(len(confirmed))
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            # A refusal or a broken connection, not the messages' fault: they stay open.
            await outbox.release(self._database, {row.id for row in rows} - set(confirmed))
            raise errors[0]


async def _publish_one(channel: "AbstractChannel", row: OutboxMessage) -> None:
    from aio_pika import DeliveryMode, Message  # noqa: PLC0415  # only with an AMQP_URL

    # Mandatory: a queue that is gone is an error here, not a message that silently vanishes.
    await channel.default_exchange.publish(
        Message(
            row.payload.encode(),
            message_id=row.message_id,
            type=row.kind,
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
        ),
        routing_key=QUEUE,
        mandatory=True,
        timeout=CONFIRM_SECONDS,
    )


class Consumer:
    """Hands each message of the queue to `handle`, and acknowledges it afterwards."""

    def __init__(self, url: str, handle: Callable[[bytes], Awaitable[None]]) -> None:
        self._handle = handle
        self._loop = _ConnectionLoop("consumer", url, self._consume)
        self._stopping = asyncio.Event()
        self._busy: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop.start()

    async def stop(self, patience: float = 10.0) -> None:
        """Take no more, finish what is being handled; the broker gives the rest to others."""
        self._stopping.set()
        await self._loop.end(patience)

    async def _consume(self, connection: "AbstractConnection") -> None:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await declare(channel)
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        channel.close_callbacks.add(lambda *_: closed.set())
        tag = await queue.consume(self._receive)
        stop, close = (asyncio.create_task(e.wait()) for e in (self._stopping, closed))
        await asyncio.wait({stop, close}, return_when=asyncio.FIRST_COMPLETED)
        for waiter in (stop, close):
            waiter.cancel()
        if not self._stopping.is_set():
            raise ConnectionError("connection to the broker is closed")
        await queue.cancel(tag)
        if self._busy:
            await asyncio.wait(self._busy)

    async def _receive(self, message: "AbstractIncomingMessage") -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # nosec B101: this is a coroutine
        self._busy.add(task)
        try:
            await self._settle(message)
        except Exception as error:  # noqa: BLE001  # the channel is gone: the broker redelivers
            logger.info("message will be redelivered", extra={"error": repr(error)})
        finally:
            self._busy.discard(task)

    async def _settle(self, message: "AbstractIncomingMessage") -> None:
        delay, longest = BACKOFF_SECONDS
        while True:
            try:
                await self._handle(message.body)
            except ValueError as error:
                logger.error("poison message", extra={"error": str(error)})  # noqa: TRY400
                metrics.EMAILS_FAILED.inc()
                await message.reject(requeue=False)
                return
            except Exception as error:  # noqa: BLE001  # mostly the database; it comes back
                # Held rather than requeued: a requeue would only turn round at full speed.
                logger.warning("message not handled yet", extra={"error": repr(error)})
                metrics.EMAILS_FAILED.inc()
                if self._stopping.is_set():
                    await message.nack(requeue=True)
                    return
                await asyncio.sleep(delay)
                delay = min(delay * 2, longest)
            else:
                await message.ack()
                return


async def declare(channel: "AbstractChannel") -> "AbstractQueue":
    """Create the queues unless they are there; whoever comes first does it."""
    await channel.declare_queue(
        DEAD_LETTER_QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )
    return await channel.declare_queue(QUEUE, durable=True, arguments=dict(QUEUE_ARGUMENTS))


class _ConnectionLoop:
    """Connects and does `work`, again and again until `work` returns by itself."""

    def __init__(
        self, name: str, url: str, work: "Callable[[AbstractConnection], Awaitable[None]]"
    ) -> None:
        self._name = name
        self._url = url
        self._work = work
        self._connected = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def end(self, patience: float) -> None:
        """Give `work` some seconds to return; without a connection it has nothing to finish."""
        if self._task is None:
            return
        if not self._connected:
            self._task.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._task, patience)

    async def _run(self) -> None:
        delay, longest = BACKOFF_SECONDS
        while True:
            try:
                async with _connection(self._url, self._name) as connection:
                    self._connected = True
                    metrics.BROKER_UP.set(1)
                    logger.info("connected to the broker", extra={"role": self._name})
                    delay = BACKOFF_SECONDS[0]
                    await self._work(connection)
                    return
            except Exception as error:  # noqa: BLE001  # whatever broke, the remedy is to start over
                self._connected = False
                metrics.BROKER_UP.set(0)
                logger.warning(
                    "broker is not available",
                    extra={"role": self._name, "error": repr(error), "retry_seconds": delay},
                )
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
            delay = min(delay * 2, longest)


@contextlib.asynccontextmanager
async def _connection(url: str, name: str) -> "AsyncIterator[AbstractConnection]":
    import aio_pika  # noqa: PLC0415  # a driver is imported when its URL asks for it

    connection = await aio_pika.connect(url, timeout=5, client_properties={"connection_name": name})
    try:
        yield connection
    finally:
        # A broker that hangs must not hold up whoever leaves.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.close(), 2)
