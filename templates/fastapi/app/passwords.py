"""Argon2 hashes, computed off the event loop."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pwdlib import PasswordHash

# Each hash takes 64 MiB and tens of milliseconds of a core: a few at a time, others wait.
_slots = asyncio.Semaphore(2)


@cache
def _hasher() -> "PasswordHash":
    from pwdlib import PasswordHash  # noqa: PLC0415  # only replicas that need it pay for it

    return PasswordHash.recommended()


async def hash_password(password: str) -> str:
    async with _slots:
        return await asyncio.to_thread(lambda: _hasher().hash(password))
