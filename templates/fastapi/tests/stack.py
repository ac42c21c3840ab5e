"""Runs the service's own processes, the way an engine would."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx

from app.db import open_database

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """One replica of the API, or the worker."""

    module: str
    port: int
    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        assert self.popen.poll() is None, f"{self.module} ended:\n{self.log.read_text()}"
        try:
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> Self:
        wait_until(self.is_ready, f"{self.module} ready")
        return self

    def kill(self) -> None:
        """As a power cut would: no last words."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def terminate(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout=40)

    def metric(self, sample: str) -> float:
        for line in httpx.get(f"{self.url}/metrics", timeout=5).text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0


@dataclass
class Stack:
    """A database and the processes on it, all ended with the `with` block."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def __enter__(self) -> Self:
        project = f"test-{uuid4().hex[:12]}"
        self.env = {
            **os.environ,
            "HOST": "127.0.0.1",
            "SCALECTL_PROJECT": project,
            "DATABASE_URL": self._make_database(project),
        }
        if url := os.environ.get("AMQP_URL"):
            asyncio.run(_purge(url))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.popen.kill()
            process.popen.wait()
        self._drop_database()

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"]

    def run(self, module: str, *arguments: str, check: bool = True) -> str:
        """Run a job to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self.env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def start(self, module: str, **env: str) -> Process:
        port = free_port()
        name = f"{module.rpartition('.')[2]}-{len(self.processes) + 1}"
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**self.env, "PORT": str(port), "SCALECTL_REPLICA": name, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = Process(module, port, popen, log)
        self.processes.append(process)
        return process

    def api(self, **env: str) -> Process:
        return self.start("app", **env)

    def worker(self, **env: str) -> Process:
        return self.start("app.worker", **env)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows straight from the database, past the service."""

        async def ask() -> list[tuple[Any, ...]]:
            database = open_database(self.database_url, pool_size=1)
            try:
                async with database.write() as session:
                    return [tuple(row) for row in await session.fetch(sql, *values)]
            finally:
                await database.close()

        return asyncio.run(ask())

    @contextlib.contextmanager
    def writes_held_up(self) -> Iterator[None]:
        """Hold a lock that lets others read but not write."""

        async def lock() -> None:
            if not self.database_url.startswith("sqlite"):  # where to begin is to lock
                await session.fetch("LOCK TABLE users IN EXCLUSIVE MODE")

        database = open_database(self.database_url, pool_size=1)
        with asyncio.Runner() as runner:
            transaction = database.write()
            session = runner.run(transaction.__aenter__())
            try:
                runner.run(lock())
                yield
            finally:
                runner.run(transaction.__aexit__(None, None, None))
                runner.run(database.close())

    def scalar(self, sql: str, *values: object) -> Any:
        return self.query(sql, *values)[0][0]

    def _make_database(self, name: str) -> str:
        url = os.environ.get("DATABASE_URL", "")
        if not url.startswith("postgres"):
            return f"sqlite:///{self.folder / 'app.db'}"
        asyncio.run(_administer(url, f'CREATE DATABASE "{name}"'))
        return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))

    def _drop_database(self) -> None:
        url = os.environ.get("DATABASE_URL", "")
        if url.startswith("postgres"):
            name = self.env["SCALECTL_PROJECT"]
            asyncio.run(_administer(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _administer(url: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415  # absent from an embedded run

    connection = await asyncpg.connect("postgresql://" + url.partition("://")[2])
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _purge(url: str) -> None:
    """Empty the queues, so that no test is handed the messages of another's database."""
    import aio_pika  # noqa: PLC0415

    from app.broker import DEAD_LETTER_QUEUE, declare  # noqa: PLC0415

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await (await declare(channel)).purge()
        await (await channel.get_queue(DEAD_LETTER_QUEUE)).purge()


def each_ready(processes: Iterable[Process]) -> list[Process]:
    return [process.wait_ready() for process in processes]
