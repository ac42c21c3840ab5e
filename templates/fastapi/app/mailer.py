"""What the worker does with one message: the row in `sent_emails` is the e-mail."""

from app.db import Session
from app.models import utc_now
from app.outbox import WELCOME_EMAIL, Message

_INSERT = """
INSERT INTO sent_emails (message_id, user_id, recipient, subject, sent_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING message_id
"""


class PoisonMessage(ValueError):
    """No number of attempts makes this message deliverable."""


async def deliver(session: Session, message: Message) -> bool:
    """Send `message` unless it was sent before; True if it was sent now.

    The caller's transaction decides: committed, the message counts as sent.
    """
    if message.kind != WELCOME_EMAIL:
        raise PoisonMessage(f"unknown kind of message: {message.kind}")
    subject = f"Welcome, {message.name}!"[:200]
    values = (message.message_id, message.user_id, message.recipient, subject, utc_now())
    return bool(await session.fetch(_INSERT, *values))
