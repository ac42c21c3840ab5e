"""A bounded stream of registrations in the background."""

import threading
import time
from types import TracebackType
from typing import Self
from uuid import uuid4

import httpx

from tests.stack import Process


class Registrations:
    """Registers users at a steady pace until the `with` block ends, two minutes at most."""

    def __init__(self, replicas: list[Process], *, per_second: float = 40.0) -> None:
        self._replicas = replicas
        self._pause = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: set[int] = set()
        """The ids that were answered with 201."""
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        deadline = time.monotonic() + 120
        number = 0
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(self._pause) and time.monotonic() < deadline:
                replica = self._replicas[number % len(self._replicas)]
                number += 1
                try:
                    fields = {"name": "Ada", "email": f"{uuid4()}@example.com"}
                    answer = client.post(f"{replica.url}/users", json=fields)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 201:
                    self.accepted.add(answer.json()["id"])
                else:
                    self.failures.append(answer.text)
