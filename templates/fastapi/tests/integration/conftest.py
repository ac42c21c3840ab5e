"""Real processes, real failures."""

import os
import subprocess
from collections.abc import Iterator

import pytest


class Outage:
    """Kills a backing service and starts it again, by commands that the environment names.

    TEST_KILL_BROKER and TEST_START_BROKER, or the same with REDIS or DATABASE, are shell
    commands such as `docker kill shop-rabbitmq` and `docker start shop-rabbitmq`.
    """

    def __init__(self, part: str) -> None:
        self._kill = os.environ.get(f"TEST_KILL_{part}")
        self._start = os.environ.get(f"TEST_START_{part}")
        if not (self._kill and self._start):
            pytest.skip(f"no TEST_KILL_{part} and TEST_START_{part} to cause an outage with")
        self._down = False

    def begin(self) -> None:
        assert self._kill
        subprocess.run(self._kill, shell=True, check=True, timeout=60)
        self._down = True

    def end(self) -> None:
        assert self._start
        if self._down:
            subprocess.run(self._start, shell=True, check=True, timeout=120)
            self._down = False


def _needs(variable: str) -> None:
    if not os.environ.get(variable):
        pytest.skip(f"no {variable}: nothing real to test against")


@pytest.fixture
def broker_outage() -> Iterator[Outage]:
    _needs("AMQP_URL")
    outage = Outage("BROKER")
    yield outage
    outage.end()


@pytest.fixture
def redis_outage() -> Iterator[Outage]:
    _needs("REDIS_URL")
    outage = Outage("REDIS")
    yield outage
    outage.end()


@pytest.fixture
def database_outage() -> Iterator[Outage]:
    if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        pytest.skip("no PostgreSQL in DATABASE_URL: SQLite has no server to kill")
    outage = Outage("DATABASE")
    yield outage
    outage.end()
