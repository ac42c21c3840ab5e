"""The contract, checked from outside.

With BASE_URL the tests talk to whatever answers there, such as a balancer in front of several
replicas. Without it they start three replicas and a worker, and send each request to the next
replica in turn, so that nothing can rest on one process' memory.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.stack import Stack, each_ready

Json = dict[str, Any]


class RoundRobin(httpx.BaseTransport):
    """A balancer as simple as can be."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = itertools.cycle(map(httpx.URL, urls))
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = next(self._urls)
        request.url = request.url.copy_with(host=target.host, port=target.port)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


# For this package, not the session: a worker that outlived it would take messages off the broker
# that belong to the stacks of other tests.
@pytest.fixture(scope="package")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack | None]:
    if os.environ.get("BASE_URL"):
        yield None
        return
    folder: Path = tmp_path_factory.mktemp("stack")
    with Stack(folder) as stack:
        stack.run("app.migrate")
        each_ready([*(stack.api() for _ in range(3)), stack.worker()])
        yield stack


@pytest.fixture(scope="package")
def client(own_stack: Stack | None) -> Iterator[httpx.Client]:
    if own_stack is None:
        client = httpx.Client(base_url=os.environ["BASE_URL"], timeout=30)
    else:
        replicas = [p.url for p in own_stack.processes if p.module == "app"]
        client = httpx.Client(base_url="http://api", transport=RoundRobin(replicas), timeout=30)
    with client:
        yield client


@pytest.fixture
def new_user(client: httpx.Client) -> Callable[..., Json]:
    def create(**fields: str) -> Json:
        fields = {"name": "Ada", "email": f"{uuid4()}@example.com"} | fields
        answer = client.post("/users", json=fields)
        assert answer.status_code == 201, answer.text
        user: Json = answer.json()
        return user

    return create
