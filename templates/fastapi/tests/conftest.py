"""What all tests share.

By default everything runs embedded, on SQLite files in temporary folders. With DATABASE_URL,
REDIS_URL or AMQP_URL in the environment the same tests use those instead; each stack makes a
database of its own there, and drops it afterwards.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A migrated database with nothing running on it yet."""
    with Stack(tmp_path) as stack:
        stack.run("app.migrate")
        yield stack
