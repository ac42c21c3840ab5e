"""What the worker does with one message: the row in `sent_emails` is the e-mail."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db import insert_or_ignore
from app.models import SentEmail, utc_now
from app.outbox import WELCOME_EMAIL, Message


class PoisonMessage(ValueError):
    """No number of attempts makes this message deliverable."""


async def deliver(session: AsyncSession, message: Message) -> bool:
    """Send `message` unless it was sent before; True if it was sent now.

    The caller's transaction decides: committed, the message counts as sent.
    """
    if message.kind != WELCOME_EMAIL:
        raise PoisonMessage(f"unknown kind of message: {message.kind}")
    statement = insert_or_ignore(session, SentEmail).values(
        message_id=message.message_id,
        user_id=message.user_id,
        recipient=message.recipient,
        subject=f"Welcome, {message.name}!"[:200],
        sent_at=utc_now(),
    )
    return await session.scalar(statement.returning(SentEmail.message_id)) is not None
